"""From a photo's file to pre-training's two views in one step, at a fraction of the cost."""

import functools
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from PIL import ImageEnhance, ImageOps
from torch import Tensor

from ...registry import TRANSFORMS
from ..decoding import decode_image
from ..jpeg import decode_crop, read_jpeg_header, reduction
from ..reading.broken_image import BrokenImage
from ..reading.choosing import BANDS_OF_CV, Reading
from ..reading.image_file import Box
from ..reading.noted import note_changes
from ..sources.stores import StoreError, as_source
from ..token_cache import TokenCache
from .colors import change_colors
from .crops import RESAMPLING, TwoViews, draw_box, resample, uniform

# A photo is reduced while it is decoded if that leaves this many times the pixels of the larger
# view along each axis: twice as many keep the views within 49 dB (median) of the slow way's.
REDUCTION_GAP = 2
# Larger than photos are.
LARGEST_WINDOW = 8192
ENHANCE = dict(
    brightness=ImageEnhance.Brightness,
    contrast=ImageEnhance.Contrast,
    saturation=ImageEnhance.Color,
)


class View(NamedTuple):
    """All that is random about the views of a photo."""

    box: Box
    flip: bool
    jitter: tuple[tuple[str, float], ...]


START_OF_IMAGE = b'\xff\xd8'


@TRANSFORMS.register_module()
class LoadTwoViews(TwoViews):
    """Read a photo, draw a crop, a flip and a color jitter, and resample to two sizes.

    Does what the steps ``LoadImageFromFile``, ``ColorJitter``, ``RandomHorizontalFlip`` and
    :class:`TwoViewRandomResizedCrop` do one after another, with work on the crop alone. It differs
    from them in two ways:

    - The crop is drawn before the colors change, so contrast is changed about the mean luminance
      of the crop and not of the photo. The crop is what the network sees; the factor's
      distribution is the same.
    - Crops of at least four times the larger view along each axis are reduced, by a power of two,
      while they are decoded, and so moved to the nearest pixel of that size.

    Sets ``img`` to a list of the views, (bands, h, w) tensors, RGB by default: uint8 without
    ``value_range``, else float32 in [0, 255]; ``ori_shape`` to the photo's (height, width);
    ``img_shape`` to the first view's; ``flip``. Reads ``img_bytes``, what is in a file, or the file
    ``img_path``, of large images no more than the crop where their format allows it.

    Args:
        size: Height and width of the Transformer's view in pixels, a number or a pair.
        second_size: Of the tokenizer's view; None where there is none, as in MAE.
        scale: Smallest and largest share of the photo's area that a crop covers.
        ratio: Smallest and largest width / height of a crop.
        interpolation: 'bilinear', 'bicubic' or 'lanczos', for the first view.
        second_interpolation: The same for the second.
        brightness, contrast, saturation: Each factor is uniform in [1 - x, 1 + x], 0 <= x <= 1.
        flip_prob: Probability of a mirror image.
        num_views: Number of views a photo has. View k of photo i (``sample_idx``) is the same
            whenever it is drawn, and sets ``view_idx`` to k. None for a fresh view every time.
        seed: Which views these are.
        token_cache: Folder of a token cache, see :class:`TokenCache`, which ``num_views`` and
            ``seed`` are taken from. The second view is then its tokens, (h, w) int64.
        window: Largest height and width that a crop is drawn from, in pixels: of larger images a
            part of this size is drawn first, so that a crop costs the same whatever their size.
        bands, value_range, background, no_data: See :class:`Reading`.

    Raises:
        CacheError: If the cache holds tokens of views of other settings.
        ValueError: If a setting is none.
        BrokenImage: If a photo cannot be decoded.
    """

    def __init__(
        self,
        size: int | tuple[int, int] = 224,
        second_size: int | tuple[int, int] | None = 112,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = 'bicubic',
        second_interpolation: str = 'lanczos',
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.4,
        flip_prob: float = 0.5,
        num_views: int | None = None,
        seed: int = 0,
        token_cache: str | None = None,
        window: int = LARGEST_WINDOW,
        bands: int | Sequence[str] | None = None,
        value_range: Any = None,
        background: float | Sequence[float] | None = None,
        no_data: float | None = None,
    ) -> None:
        super().__init__(size, second_size, scale, ratio, interpolation, second_interpolation)
        shares = dict(brightness=brightness, contrast=contrast, saturation=saturation)
        for name, share in {**shares, 'flip_prob': flip_prob}.items():
            if not 0 <= share <= 1:
                raise ValueError(f'{name} is {share}; it must be 0 to 1')
        if num_views is not None and num_views < 1:
            raise ValueError(f'num_views is {num_views}; it must be None or at least 1')
        self.jitter = [(name, share) for name, share in shares.items() if share]
        self.flip_prob, self.num_views, self.seed = flip_prob, num_views, seed
        if window < 1:
            raise ValueError(f'window is {window}; it must be at least 1')
        self.window = window
        self.reading = Reading(bands, value_range, background, no_data)
        self.cache = None
        if token_cache is not None and second_size is None:
            raise ValueError('token_cache is given, and no second_size, whose tokens it holds')
        if token_cache is not None:
            self.cache = TokenCache(token_cache)
            views = self.cache.manifest['views']
            self.num_views, self.seed = self.cache.num_views, views['seed']
            if 'window' not in views and window == LARGEST_WINDOW:
                # It was written before there was this setting, of crops of images of any size.
                self.window = sys.maxsize
            self.cache.check(dict(views=self.settings))

    @property
    def settings(self) -> dict:
        """All that the pixels of the second view depend on, beside the photo."""
        return dict(
            size=self.sizes[0],
            second_size=self.sizes[1],
            scale=self.scale,
            ratio=self.ratio,
            second_interpolation=self.interpolations[1],
            jitter=self.jitter,
            flip_prob=self.flip_prob,
            num_views=self.num_views,
            seed=self.seed,
            **(dict(window=self.window) if self.window != sys.maxsize else {}),
            **self.reading.settings,
        )

    def transform(self, results: dict) -> dict:
        """Load two views of one random crop."""
        if self.num_views is None:
            # NumPy's global state is what mmengine seeds in each loader worker.
            rng = random.Random(int.from_bytes(np.random.bytes(16), 'little'))
        else:
            results['view_idx'] = int(np.random.randint(self.num_views))
            rng = self.view_rng(results['sample_idx'], results['view_idx'])
        path, source = results['img_path'], results.get('img_bytes')
        try:
            source = as_source(path) if source is None else source
            views, photo_size, view = self.load(source, rng, (0,) if self.cache else None)
        except (StoreError, ValueError) as error:
            raise BrokenImage(path, getattr(error, 'reason', str(error))) from error
        if self.cache:
            tokens = self.cache.read(results['sample_idx'], results['view_idx'])
            views.append(torch.from_numpy(tokens))
        results.update(img=views, ori_shape=photo_size, img_shape=self.sizes[0], flip=view.flip)
        return results

    def view_rng(self, sample_idx: int, view_idx: int) -> random.Random:
        """What view ``view_idx`` of photo ``sample_idx`` is drawn from.

        Of Python's generator ``random()`` alone is used: its numbers for a seed are promised to
        be the same in every release.
        """
        # Python's own numbers: those of NumPy, which a sampler may yield, have 64 bits.
        return random.Random((int(self.seed) << 128) | (int(sample_idx) << 64) | int(view_idx))

    def draw(self, rng: random.Random, size: tuple[int, int]) -> View:
        """Draw a crop, a flip and a color jitter for a photo of (height, width)."""
        inside = min(size[0], self.window), min(size[1], self.window)
        top, left = (
            int(rng.random() * (edge - part + 1)) if part < edge else 0
            for edge, part in zip(size, inside, strict=True)
        )
        box = draw_box(rng, inside, self.scale, self.ratio)
        box = box._replace(top=box.top + top, left=box.left + left)
        flip = rng.random() < self.flip_prob
        jitter = [(rng.random(), name, uniform(rng, 1 - x, 1 + x)) for name, x in self.jitter]
        return View(box, flip, tuple((name, factor) for _, name, factor in sorted(jitter)))

    def plain_load(self, data: bytes, view: View) -> list[Tensor]:
        """Both views, step by step: decode, cut, change the colors, mirror, resample.

        The plain twin of :meth:`load`, which decodes no more than the crop and changes the colors
        by one matrix; they differ by rounding, and by half a pixel where :meth:`load` reduces the
        photo while it is decoded. Of photos as they are: it does without ``bands``,
        ``value_range`` and what goes with them.

        Args:
            data: The file.
            view: What was drawn.

        Returns:
            (3, h, w) uint8 each, RGB.
        """
        top, left, height, width = view.box
        crop = decode_image(data).crop((left, top, left + width, top + height))
        for name, factor in view.jitter:
            crop = ENHANCE[name](crop).enhance(factor)
        crop = ImageOps.mirror(crop) if view.flip else crop
        small = [
            crop.resize(size[::-1], RESAMPLING[name])
            for size, name in zip(self.sizes, self.interpolations, strict=True)
        ]
        return [torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in small]

    def load(
        self, source: str | bytes, rng: random.Random, which: Sequence[int] | None = None
    ) -> tuple[list[Tensor], tuple[int, int], View]:
        """Two views of a photo, which depend on the file and the generator alone.

        Args:
            source: The file, or what is in it.
            rng: Source of randomness.
            which: The first view, 0, the second, 1, or both; None for all there are.

        Returns:
            These views, (bands, h, w); the photo's (height, width); what was drawn.

        Raises:
            ValueError: If the file is no image.
        """
        height, width = (REDUCTION_GAP * max(edges) for edges in zip(*self.sizes, strict=True))
        with _open(source, self.reading) as (size, cut):
            view = self.draw(rng, size)
            crop = cut(view.box, reduction(view.box, (height, width)))
        if view.flip and crop.shape[2] > BANDS_OF_CV:
            crop = crop[:, ::-1]
        elif view.flip:
            # Faster, and without a third axis where there is one band.
            crop = cv2.flip(crop, 1).reshape(crop.shape)
        crop = np.require(crop, requirements=['C', 'W'])
        crop = change_colors(crop, view.jitter)
        wanted = range(len(self.sizes)) if which is None else which
        views = [resample(crop, self.sizes[k], self.interpolations[k]) for k in wanted]
        return views, size, view

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(sizes={self.sizes}, '
            f'scale={self.scale}, ratio={self.ratio}, interpolations={self.interpolations}, '
            f'jitter={self.jitter}, '
            f'flip_prob={self.flip_prob}, num_views={self.num_views}, seed={self.seed})'
        )


Cut = Callable[[Box, int], np.ndarray]


@contextmanager
def _open(source: str | bytes, reading: Reading) -> Iterator[tuple[tuple[int, int], Cut]]:
    """(height, width) of a photo, and what cuts a box out of it, reduced by a factor or less."""
    data = source if isinstance(source, bytes) else _jpeg_at(source)
    header = read_jpeg_header(data) if data is not None and reading.keeps_jpeg else None
    if data is not None and header is not None:
        yield (header.height, header.width), functools.partial(decode_crop, data, header)
        return
    with reading.open(source if data is None else data) as image:
        yield image.size, image.read
    note_changes(image.changes)


def _jpeg_at(path: str) -> bytes | None:
    """A JPEG file; None of another format, which may allow to read a part."""
    try:
        with open(path, 'rb', buffering=0) as file:
            if file.read(len(START_OF_IMAGE)) != START_OF_IMAGE:
                return None
            file.seek(0)
            return file.read()
    except (FileNotFoundError, IsADirectoryError):
        # Of an image inside of a file, or of a folder that is one.
        return None
