"""One crop, two views: patches for the Transformer, pixels for the tokenizer (paper 2.1)."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image
from torchvision.transforms import RandomResizedCrop

from ..registry import TRANSFORMS

RESAMPLING = {
    'bilinear': Image.Resampling.BILINEAR,
    'bicubic': Image.Resampling.BICUBIC,
    'lanczos': Image.Resampling.LANCZOS,
}


def _size(name: str, size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) of a size that may be given as one number."""
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise ValueError(f'{name} is {height} x {width}; both must be at least 1')
    return height, width


def _range(name: str, limits: Sequence[float]) -> tuple[float, float]:
    smallest, largest = limits
    if not 0 < smallest <= largest:
        raise ValueError(f'{name} is {tuple(limits)}; it must be 0 < smallest <= largest')
    return smallest, largest


@TRANSFORMS.register_module()
class TwoViewRandomResizedCrop(BaseTransform):
    """Crop at random and resample the same crop to two sizes, both with antialiasing.

    Replaces ``img``, a PIL image or a (H, W, C) uint8 array, by the list of both views, of the
    type that was given, and sets ``img_shape`` to the first one's (h, w).

    Args:
        size: Height and width of the Transformer's view in pixels, a number or a pair.
        second_size: Of the tokenizer's view.
        scale: Smallest and largest share of the image's area that a crop covers.
        ratio: Smallest and largest width / height of a crop.
        interpolation: 'bilinear', 'bicubic' or 'lanczos', for the first view.
        second_interpolation: The same for the second.

    Raises:
        ValueError: If a size, a range or an interpolation is none.
    """

    def __init__(
        self,
        size: int | Sequence[int] = 224,
        second_size: int | Sequence[int] = 112,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = 'bicubic',
        second_interpolation: str = 'lanczos',
    ) -> None:
        self.sizes = _size('size', size), _size('second_size', second_size)
        self.scale = _range('scale', scale)
        self.ratio = _range('ratio', ratio)
        for name in (interpolation, second_interpolation):
            if name not in RESAMPLING:
                raise ValueError(f'interpolation {name!r} is none of {", ".join(RESAMPLING)}')
        self.interpolations = interpolation, second_interpolation

    def transform(self, results: dict) -> dict:
        """Replace the image by two views of one random crop."""
        is_array = isinstance(results['img'], np.ndarray)
        image = Image.fromarray(results['img']) if is_array else results['img']
        top, left, height, width = RandomResizedCrop.get_params(image, self.scale, self.ratio)
        # Cropping first keeps pixels outside the crop out of the resampling filter.
        crop = image.crop((left, top, left + width, top + height))
        views = [
            crop.resize((width, height), RESAMPLING[interpolation])
            for (height, width), interpolation in zip(self.sizes, self.interpolations, strict=True)
        ]
        results['img'] = [np.asarray(view) for view in views] if is_array else views
        results['img_shape'] = self.sizes[0]
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(size={self.sizes[0]}, second_size={self.sizes[1]}, '
            f'scale={self.scale}, ratio={self.ratio}, interpolation={self.interpolations[0]!r}, '
            f'second_interpolation={self.interpolations[1]!r})'
        )
