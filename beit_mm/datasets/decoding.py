"""From a photo's file to its RGB pixels, or a reason why there are none."""

import io
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image, ImageOps

from ..component import Component, Plan
from ..registry import TRANSFORMS
from .reading.broken_image import BrokenImage
from .reading.known_formats import load_plugins


def decode_image(source: str | Path | bytes) -> Image.Image:
    """Read a photo as the recipe's loader would, and refuse what that loader would not see whole.

    The first frame of an animation, turned as its EXIF tag says, without its transparency. Of 16
    bits a channel the upper 8 are taken, as OpenCV does.

    Args:
        source: A file, or what is in one.

    Returns:
        A PIL image of mode RGB.

    Raises:
        FileNotFoundError: If there is no such file.
        BrokenImage: If it is empty, no image, cut off, or of more pixels than Pillow's limit for
            decompression bombs, 179 million.
    """
    load_plugins()
    path = 'the image' if isinstance(source, bytes) else Path(source)
    size = len(source) if isinstance(source, bytes) else Path(source).stat().st_size
    if not size:
        raise BrokenImage(path, 'the file is empty')
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else path) as image:
            image.load()
            image = _turned(image)
            if image.mode.startswith('I'):
                return _upper_bits(image)
            if image.mode == 'F':
                raise ValueError('its pixels are floating point numbers of no known range')
            return image.convert('RGB')
    # Damaged files make Pillow raise errors of a dozen kinds.
    except Exception as error:
        raise BrokenImage(path, f'{error}') from error


def _turned(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        # The pixels are whole; what is damaged is the note beside them.
        return image


def _upper_bits(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image).astype(np.int64)
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError(f'its pixels are {pixels.min()} to {pixels.max()}, which is no 16 bits')
    return Image.fromarray((pixels >> 8).astype(np.uint8)).convert('RGB')


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
    """Read ``img_path`` by :func:`decode_image`, or take ``img`` where it is there already.

    Sets ``img``, and ``ori_shape`` and ``img_shape`` to its (height, width). What is there already
    may be a PIL image or, as OpenMMLab's inferencers hand over what they have read or were given, a
    (H, W, 3) uint8 array, BGR.

    Args:
        as_array: Whether ``img`` is a (H, W, 3) uint8 array, BGR as mmcv's transforms take it, or
            a PIL image.
    """

    def __init__(self, as_array: bool = False) -> None:
        self.as_array = as_array

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
            BrokenImage: If the file is none, see :func:`decode_image`.
            ValueError: If ``img`` is there and none of the above.
        """
        given = results.get('img')
        image = decode_image(results['img_path']) if given is None else _as_pil(given)
        results['img_shape'] = results['ori_shape'] = image.size[::-1]
        results['img'] = np.asarray(image)[..., ::-1].copy() if self.as_array else image
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(as_array={self.as_array})'
