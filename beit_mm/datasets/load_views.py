"""From a photo's file to pre-training's two views in one step, at a fraction of the cost."""

import functools
import math
import random
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from mmengine import fileio
from mmengine.logging import print_log
from PIL import Image
from torch import Tensor

from ..registry import TRANSFORMS
from .decoding import BrokenImage
from .photo import Box, decode_crop, decode_whole, read_jpeg_header, reduction
from .token_cache import TokenCache
from .views import RESAMPLING, check_range, check_size

# Weights of R, G, B in a pixel's luminance (ITU-R BT.601), which Pillow's grey images are made by.
LUMA = (0.299, 0.587, 0.114)
# A photo is reduced while it is decoded if that leaves this many times the pixels of the larger
# view along each axis: twice as many keep the views within 49 dB (median) of the slow way's.
REDUCTION_GAP = 2


class View(NamedTuple):
    """All that is random about the views of a photo."""

    box: Box
    flip: bool
    jitter: tuple[tuple[str, float], ...]


def read_file(path: str) -> bytes:
    """The bytes of a file; of another store than the disk, by mmengine's backends."""
    if '://' in path:
        return fileio.get(path)
    with open(path, 'rb') as file:
        return file.read()


def uniform(rng: random.Random, low: float, high: float) -> float:
    """A number from [low, high)."""
    return low + (high - low) * rng.random()


def draw_box(
    rng: random.Random,
    size: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Box:
    """A random crop as torchvision's ``RandomResizedCrop`` draws it.

    Ten tries of an area uniform in ``scale`` and a width / height log-uniform in ``ratio``; if none
    fits, the largest central crop of an allowed ratio.

    Args:
        rng: Source of randomness.
        size: Height and width of the photo.
        scale, ratio: See :class:`LoadTwoViews`.
    """
    height, width = size
    for _ in range(10):
        area = height * width * uniform(rng, *scale)
        aspect = math.exp(uniform(rng, math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = (int(rng.random() * places) for places in (height - h + 1, width - w + 1))
            return Box(top, left, h, w)
    w = max(1, min(width, round(height * ratio[1])))
    h = max(1, min(height, round(width / ratio[0])))
    return Box((height - h) // 2, (width - w) // 2, h, w)


def change_colors(image: np.ndarray, jitter: tuple[tuple[str, float], ...]) -> np.ndarray:
    """Change brightness, contrast and saturation in the order given.

    Each mixes the image with black, with its mean luminance, or with its own luminance, and clips,
    as torchvision's functions of these names do. A factor up to 1 leaves nothing to clip, so that
    change and the next are one matrix. Pillow rounds down after each change; here values are
    rounded to the nearest, so that the mean is about one grey level brighter.

    Args:
        image: (H, W, 3) uint8, RGB.
        jitter: (name, factor) pairs; a factor of 1 changes nothing.

    Returns:
        (H, W, 3) uint8.
    """
    # A pixel x of luminance L(x) becomes own * x + grey * L(x) + offset; L adds up, and L(1) is 1.
    own, grey, offset = 1.0, 0.0, 0.0
    for name, factor in jitter:
        if name == 'saturation':
            own, grey = factor * own, grey + (1 - factor) * own
        else:
            shift = 0.0
            if name == 'contrast':
                luminance = sum(w * c for w, c in zip(LUMA, cv2.mean(image), strict=False))
                shift = (1 - factor) * round((own + grey) * luminance + offset)
            own, grey, offset = factor * own, factor * grey, factor * offset + shift
        if factor > 1:
            image = _mix_colors(image, own, grey, offset)
            own, grey, offset = 1.0, 0.0, 0.0
    return image if (own, grey, offset) == (1, 0, 0) else _mix_colors(image, own, grey, offset)


def _mix_colors(image: np.ndarray, own: float, grey: float, offset: float) -> np.ndarray:
    """own * x + grey * L(x) + offset, rounded and clipped to a byte."""
    r, g, b = (grey * weight for weight in LUMA)
    matrix = [[r + own, g, b, offset], [r, g + own, b, offset], [r, g, b + own, offset]]
    return cv2.transform(image, np.array(matrix, np.float32))


@functools.cache
def _torch_can(interpolation: str) -> bool:
    """Whether this torch resamples bytes so, with antialiasing."""
    pixels = torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    try:
        F.interpolate(pixels, (2, 2), mode=interpolation, antialias=True)
    except (NotImplementedError, RuntimeError, ValueError):
        print_log(
            f'torch {torch.__version__} does not resample by {interpolation}; Pillow does, slower',
            'current',
        )
        return False
    return True


def resample(image: np.ndarray, size: tuple[int, int], interpolation: str) -> Tensor:
    """Resample with antialiasing, by torch's vectorised kernels or, where it has none, by Pillow.

    The two compute the same filter with the same fixed-point weights and differ by 1 at most.

    Args:
        image: (H, W, 3) uint8, contiguous.
        size: Height and width.
        interpolation: 'bilinear', 'bicubic' or 'lanczos'.

    Returns:
        (3, height, width) uint8.
    """
    # torch's kernels tell the memory layout of an image by its strides, which a single row or
    # column leaves open.
    if min(*image.shape[:2], *size) < 2 or not _torch_can(interpolation):
        small = Image.fromarray(image).resize(size[::-1], RESAMPLING[interpolation])
        return torch.from_numpy(np.stack(cv2.split(np.asarray(small))))
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    return F.interpolate(pixels, size, mode=interpolation, antialias=True)[0].contiguous()


@TRANSFORMS.register_module()
class LoadTwoViews(BaseTransform):
    """Read a photo, draw a crop, a flip and a color jitter, and resample to two sizes.

    Does what the steps ``LoadImageFromFile``, ``ColorJitter``, ``RandomHorizontalFlip`` and
    :class:`TwoViewRandomResizedCrop` do one after another, with work on the crop alone. It differs
    from them in two ways:

    - The crop is drawn before the colors change, so contrast is changed about the mean luminance
      of the crop and not of the photo. The crop is what the network sees; the factor's
      distribution is the same.
    - Crops of at least four times the larger view along each axis are reduced, by a power of two,
      while they are decoded, and so moved to the nearest pixel of that size.

    Sets ``img`` to a list of the views, (3, h, w) uint8 tensors, RGB; ``ori_shape`` to the photo's
    (height, width); ``img_shape`` to the first view's; ``flip``. Reads ``img_path``.

    Args:
        size: Height and width of the Transformer's view in pixels, a number or a pair.
        second_size: Of the tokenizer's view.
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

    Raises:
        CacheError: If the cache holds tokens of views of other settings.
        ValueError: If a setting is none.
        BrokenImage: If a photo cannot be decoded.
    """

    def __init__(
        self,
        size: int | tuple[int, int] = 224,
        second_size: int | tuple[int, int] = 112,
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
    ) -> None:
        self.sizes = check_size('size', size), check_size('second_size', second_size)
        self.scale = check_range('scale', scale, bound=1)
        self.ratio = check_range('ratio', ratio, bound=sys.float_info.max)
        for name in (interpolation, second_interpolation):
            if name not in RESAMPLING:
                raise ValueError(f'interpolation {name!r} is none of {", ".join(RESAMPLING)}')
        self.interpolations = interpolation, second_interpolation
        shares = dict(brightness=brightness, contrast=contrast, saturation=saturation)
        for name, share in {**shares, 'flip_prob': flip_prob}.items():
            if not 0 <= share <= 1:
                raise ValueError(f'{name} is {share}; it must be 0 to 1')
        if num_views is not None and num_views < 1:
            raise ValueError(f'num_views is {num_views}; it must be None or at least 1')
        self.jitter = [(name, share) for name, share in shares.items() if share]
        self.flip_prob, self.num_views, self.seed = flip_prob, num_views, seed
        self.cache = None
        if token_cache is not None:
            self.cache = TokenCache(token_cache)
            self.num_views, self.seed = self.cache.num_views, self.cache.manifest['views']['seed']
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
        )

    def transform(self, results: dict) -> dict:
        """Load two views of one random crop."""
        if self.num_views is None:
            # NumPy's global state is what mmengine seeds in each loader worker.
            rng = random.Random(int.from_bytes(np.random.bytes(16), 'little'))
        else:
            results['view_idx'] = int(np.random.randint(self.num_views))
            rng = self.view_rng(results['sample_idx'], results['view_idx'])
        path = results['img_path']
        try:
            views, photo_size, view = self.load(
                read_file(path), rng, (0,) if self.cache else (0, 1)
            )
        except ValueError as error:
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
        box = draw_box(rng, size, self.scale, self.ratio)
        flip = rng.random() < self.flip_prob
        jitter = [(rng.random(), name, uniform(rng, 1 - x, 1 + x)) for name, x in self.jitter]
        return View(box, flip, tuple((name, factor) for _, name, factor in sorted(jitter)))

    def load(
        self, data: bytes, rng: random.Random, which: Sequence[int] = (0, 1)
    ) -> tuple[list[Tensor], tuple[int, int], View]:
        """Two views of a photo, which depend on the file and the generator alone.

        Args:
            data: The file.
            rng: Source of randomness.
            which: The first view, 0, the second, 1, or both.

        Returns:
            These views, (3, h, w) uint8; the photo's (height, width); what was drawn.

        Raises:
            ValueError: If the file is no image.
        """
        size, cut = _open(data)
        view = self.draw(rng, size)
        min_size = tuple(REDUCTION_GAP * max(edges) for edges in zip(*self.sizes, strict=True))
        crop = cut(view.box, reduction(view.box, min_size))
        crop = cv2.flip(crop, 1) if view.flip else np.ascontiguousarray(crop)
        crop = change_colors(crop, view.jitter)
        views = [resample(crop, self.sizes[k], self.interpolations[k]) for k in which]
        return views, size, view

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(size={self.sizes[0]}, second_size={self.sizes[1]}, '
            f'scale={self.scale}, ratio={self.ratio}, interpolation={self.interpolations[0]!r}, '
            f'second_interpolation={self.interpolations[1]!r}, jitter={self.jitter}, '
            f'flip_prob={self.flip_prob}, num_views={self.num_views}, seed={self.seed})'
        )


def _open(data: bytes) -> tuple[tuple[int, int], Callable[[Box, int], np.ndarray]]:
    """(height, width) of a photo, and what cuts a box out of it, reduced by a factor."""
    header = read_jpeg_header(data)
    if header is not None:
        return (header.height, header.width), functools.partial(decode_crop, data, header)
    image = decode_whole(data)
    return image.shape[:2], lambda box, factor: image[
        box.top : box.top + box.height, box.left : box.left + box.width
    ]
