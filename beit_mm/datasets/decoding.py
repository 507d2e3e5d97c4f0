"""From a photo's file to its pixels, or a reason why there are none."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from PIL import Image

from ..component import Component, Plan
from ..registry import TRANSFORMS
from .reading.broken_image import BrokenImage
from .reading.by_pillow import Picture, as_file
from .reading.choosing import Chosen, Reading
from .reading.image_file import ImageFile, Whole
from .reading.noted import note_changes
from .sources.stores import StoreError, as_source

PLAIN = Reading()
Read = TypeVar('Read')
# Of an image that is read as a whole; what is said of a larger one.
MOST_PIXELS = 2**26
REDUCED = 'large images reduced as they are read whole'


def decode_image(source: str | Path | bytes, reading: Reading = PLAIN) -> Image.Image:
    """Read a photo as the recipe's loader would, and refuse what that loader would not see whole.

    The first frame of an animation, turned as its EXIF tag says, without its transparency. Of 16
    bits a channel the upper 8 are taken, as OpenCV does.

    Args:
        source: A file, or what is in one.
        reading: Of three bands.

    Returns:
        A PIL image of mode RGB.

    Raises:
        FileNotFoundError: If there is no such file.
        BrokenImage: If it is empty, no image, cut off, or of more pixels than Pillow's limit for
            decompression bombs, 179 million.
    """
    with reading.open(source) as image:
        if reading.is_plain and isinstance(image.image, Picture) and _share(image) <= 1:
            # As Pillow has it: pixels that are copied into an array and back take a third longer.
            picture = image.image.image
            if picture.mode in ('RGB', 'L'):
                note_changes(image.changes)
                return picture if picture.mode == 'RGB' else picture.convert('RGB')
        pixels = _read_whole(image)
    return Image.fromarray(pixels if pixels.dtype == np.uint8 else np.rint(pixels).astype(np.uint8))


def read_pixels(source: str | Path | bytes, reading: Reading) -> np.ndarray:
    """Read a whole image.

    One of more than 64 million pixels is reduced by a power of two while it is read.

    Returns:
        (H, W, bands) in [0, 255], uint8 or float32, see :class:`Reading`.

    Raises:
        FileNotFoundError: If there is no such file.
        BrokenImage: If it is no image, or lacks a band.
    """
    return _read_with_size(source, reading)[0]


def _read_with_size(
    source: str | Path | bytes, reading: Reading
) -> tuple[np.ndarray, tuple[int, int]]:
    """What :func:`read_pixels` gives, and height and width in the file."""
    with reading.open(source) as image:
        return _read_whole(image), image.size


def _share(image: Chosen) -> float:
    """Of the pixels that are read as they are, how many an image has."""
    return image.size[0] * image.size[1] / MOST_PIXELS


def _read_whole(image: Chosen) -> np.ndarray:
    share = _share(image)
    pixels = image.read(factor=1 if share <= 1 else 2 ** math.ceil(math.log2(share) / 2))
    note_changes([*image.changes, *([REDUCED] if share > 1 else [])])
    return pixels


def _as_pil(given: Image.Image | np.ndarray) -> Image.Image:
    """An image of mode RGB, from one of another mode or from mmcv's blue, green, red."""
    if isinstance(given, Image.Image):
        return given.convert('RGB')
    if given.ndim != 3 or given.shape[2] != 3 or given.dtype != np.uint8:
        raise ValueError(
            f'img is an array {given.shape} of {given.dtype}; it must be (H, W, 3) of uint8, BGR'
        )
    return Image.fromarray(np.ascontiguousarray(given[..., ::-1]))


@TRANSFORMS.register_module()
class LoadPhoto(BaseTransform):
    """Read ``img_bytes``, what is in a file, or the file ``img_path``; or take ``img``.

    Sets ``img``, and ``ori_shape`` and ``img_shape`` to its (height, width); ``file_shape`` too to
    that in the file, if the image is so large that it is reduced as it is read. An ``img`` that is
    there already may be a PIL image or, as OpenMMLab's inferencers hand over what they have read or
    were given, a (H, W, 3) array, BGR, uint8 without the settings below; of other bands a
    (H, W, bands) array. With these settings arrays have the depth that they have.

    Args:
        as_array: Whether ``img`` is a (H, W, bands) array as mmcv's transforms take it, BGR unless
            ``bands`` says which; or a PIL image, and with any of the settings below a tensor
            (bands, H, W). All are uint8, with ``value_range`` float32 in [0, 255].
        bands, value_range, background, no_data: See :class:`Reading`.
    """

    def __init__(
        self,
        as_array: bool = False,
        bands: int | Sequence[str] | None = None,
        value_range: Any = None,
        background: float | Sequence[float] | None = None,
        no_data: float | None = None,
    ) -> None:
        self.as_array = as_array
        self.reading = Reading(bands, value_range, background, no_data)

    @staticmethod
    def check_config(component: Component, plan: Plan) -> Iterator[str]:
        """The step that follows takes what this one gives."""
        for steps in plan.pipelines.values():
            after = {step.key: following for step, following in pairwise(steps)}
            following = after.get(component.key)
            if following is None or following.package not in ('mmcv', 'mmpretrain', 'torchvision'):
                continue
            name = following.given['type']
            if name.rpartition('.')[2] in ('PackInputs', 'PILToNumpy', 'NumpyToPIL'):
                continue
            if component['as_array'] == (following.package == 'torchvision'):
                given = 'an array' if component['as_array'] else 'a PIL image'
                yield (
                    f'{component.key} gives {given}, and {name} after it takes the other kind; set '
                    f'{component.key}.as_array={not component["as_array"]}'
                )

    def transform(self, results: dict) -> dict:
        """Add the image.

        Raises:
            BrokenImage: If the file is none, see :meth:`Reading.open`.
            ValueError: If ``img`` is there and none of the above.
        """
        if self.reading.is_plain and not self.as_array:
            image = self._picture(results)
            results.update(img=image, img_shape=image.size[::-1], ori_shape=image.size[::-1])
            return results
        pixels = self._pixels(results)
        results['img_shape'] = results['ori_shape'] = pixels.shape[:2]
        if self.as_array and self.reading.bands is None:
            results['img'] = pixels[..., ::-1].copy()
        elif self.as_array:
            # What reading gives may not be written into, as steps that follow do.
            results['img'] = pixels if pixels.flags.writeable else pixels.copy()
        else:
            results['img'] = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
        return results

    def _picture(self, results: dict) -> Image.Image:
        given = results.get('img')
        return _as_pil(given) if given is not None else self._by(decode_image, results)

    def _pixels(self, results: dict) -> np.ndarray:
        """(H, W, bands), red first."""
        given = results.get('img')
        if given is None:
            pixels, size = self._by(_read_with_size, results)
            if pixels.shape[:2] != size:
                results['file_shape'] = size
            return pixels
        if self.reading.is_plain:
            return np.asarray(_as_pil(given))
        if isinstance(given, Image.Image):
            whole: ImageFile = as_file(given)
        else:
            # Three bands are mmcv's, as above.
            whole = Whole(given[..., ::-1] if given.shape[2:] == (3,) else given)
        return Chosen(whole, self.reading).read()

    def _by(self, read: Callable[[str | bytes, Reading], Read], results: dict) -> Read:
        """What a function reads of the image of a sample."""
        source = results.get('img_bytes')
        try:
            source = as_source(results['img_path']) if source is None else source
            return read(source, self.reading)
        except (BrokenImage, StoreError) as error:
            path = results.get('img_path', 'the image')
            raise BrokenImage(path, getattr(error, 'reason', f'{error}')) from error

    def __repr__(self) -> str:
        settings = ''.join(f', {name}={v!r}' for name, v in self.reading.settings.items())
        return f'{type(self).__name__}(as_array={self.as_array}{settings})'
