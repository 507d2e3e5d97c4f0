"""Random crops, and the sizes that they are resampled to."""

import functools
import math
import random
import sys
from collections.abc import Iterator, Sequence
from numbers import Integral

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from mmengine.logging import print_log
from PIL import Image
from torch import Tensor

from ...component import Component
from ..reading.image_file import Box

RESAMPLING = {
    'bilinear': Image.Resampling.BILINEAR,
    'bicubic': Image.Resampling.BICUBIC,
    'lanczos': Image.Resampling.LANCZOS,
}


def check_size(name: str, size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) of a size that may be given as one number."""
    height, width = (size, size) if isinstance(size, int) else size
    if not all(isinstance(edge, Integral) and edge >= 1 for edge in (height, width)):
        raise ValueError(f'{name} is {height} x {width}; both must be whole numbers from 1')
    return height, width


def check_range(name: str, limits: Sequence[float], bound: float) -> tuple[float, float]:
    """(smallest, largest) of a range of positive numbers.

    Raises:
        ValueError: If it is none, or reaches beyond ``bound``.
    """
    smallest, largest = limits
    if not 0 < smallest <= largest <= bound:
        raise ValueError(
            f'{name} is {tuple(limits)}; it must be 0 < smallest <= largest <= {bound:g}'
        )
    return smallest, largest


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


@functools.cache
def _torch_can(interpolation: str, dtype: torch.dtype) -> bool:
    """Whether this torch resamples such pixels so, with antialiasing."""
    pixels = torch.zeros(1, 3, 4, 4, dtype=dtype)
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

    The two compute the same filter, for bytes with the same fixed-point weights, and differ by 1 at
    most.

    Args:
        image: (H, W, bands) uint8, or float32 in [0, 255]; contiguous.
        size: Height and width.
        interpolation: 'bilinear', 'bicubic' or 'lanczos'.

    Returns:
        (bands, height, width) of the same type, in [0, 255].
    """
    # torch's kernels tell the memory layout of an image by its strides, which a single row or
    # column leaves open.
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    if min(*image.shape[:2], *size) < 2 or not _torch_can(interpolation, pixels.dtype):
        return torch.from_numpy(_resample_by_pillow(image, size, interpolation))
    small = F.interpolate(pixels, size, mode=interpolation, antialias=True)[0].contiguous()
    # These filters overshoot beside edges.
    return small if small.dtype == torch.uint8 else small.clamp_(0, 255)


def _resample_by_pillow(image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    """(bands, height, width)."""
    method = RESAMPLING[interpolation]
    if image.shape[2] == 3 and image.dtype == np.uint8:
        small = np.asarray(Image.fromarray(image).resize(size[::-1], method))
        return np.stack(cv2.split(small))
    # Band by band: Pillow takes a fourth one for transparency and knows no fifth.
    planes = [Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(image, -1, 0)]
    small = np.stack([np.asarray(plane.resize(size[::-1], method)) for plane in planes])
    return small if small.dtype == np.uint8 else np.clip(small, 0, 255)


class TwoViews(BaseTransform):
    """What makes views of one random crop: their sizes, and how the crop is drawn.

    Args:
        size: Height and width of the Transformer's view in pixels, a number or a pair.
        second_size: Of the tokenizer's view; None where there is none.
        scale: Smallest and largest share of the image's area that a crop covers.
        ratio: Smallest and largest width / height of a crop.
        interpolation: 'bilinear', 'bicubic' or 'lanczos', for the first view.
        second_interpolation: The same for the second.

    Raises:
        ValueError: If a size, a range or an interpolation is none.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        second_size: int | Sequence[int] | None,
        scale: tuple[float, float],
        ratio: tuple[float, float],
        interpolation: str,
        second_interpolation: str,
    ) -> None:
        self.sizes: tuple[tuple[int, int], ...] = (check_size('size', size),)
        if second_size is not None:
            self.sizes += (check_size('second_size', second_size),)
        self.scale = check_range('scale', scale, bound=1)
        self.ratio = check_range('ratio', ratio, bound=sys.float_info.max)
        for name in (interpolation, second_interpolation):
            if name not in RESAMPLING:
                raise ValueError(f'interpolation {name!r} is none of {", ".join(RESAMPLING)}')
        self.interpolations = (interpolation, second_interpolation)[: len(self.sizes)]

    @staticmethod
    def check_views(
        component: Component, grid: tuple[int, int], backbone: Component, stride: int | None
    ) -> Iterator[str]:
        """The views of a config have the sizes that backbone and targets take.

        Args:
            component: The transform.
            grid: Patch grid (h, w).
            backbone: With ``img_size``.
            stride: Pixels of the second view that a target stands for; None if not known.
        """
        size = check_size('size', component['size'])
        wanted = check_size('img_size', backbone['img_size'])
        if size != wanted:
            yield f'{component.key}.size is {size}; it must be {backbone.key}.img_size, {wanted}'
        # Of one view alone the targets are made too.
        given = component['second_size']
        second = size if given is None else check_size('', given)
        if stride and second != (grid[0] * stride, grid[1] * stride):
            generator = f'{backbone.key.rpartition(".")[0]}.target_generator'
            if given is None and size == wanted:
                yield (
                    f'a target of {generator} stands for {stride} x {stride} pixels; without a '
                    f'second view it must be the patch of {backbone.key}, '
                    f'{size[0] // grid[0]} x {size[1] // grid[1]}'
                )
                return
            name = 'size' if given is None else 'second_size'
            yield (
                f'{component.key}.{name} is {second}; it must be '
                f'{(grid[0] * stride, grid[1] * stride)}: the mask has {grid[0]} x {grid[1]} '
                f'places, and a target of {generator} stands for {stride} x {stride} pixels'
            )
