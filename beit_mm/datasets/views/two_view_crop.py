"""One crop, two views: patches for the Transformer, pixels for the tokenizer (paper 2.1)."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...registry import TRANSFORMS
from .crops import RESAMPLING, TwoViews, resample

Picture = Image.Image | np.ndarray | Tensor


def _resample(crop: Picture, size: tuple[int, int], interpolation: str) -> Picture:
    """Resample an image to (height, width), antialiased, in the type that it has."""
    method, (height, width) = RESAMPLING[interpolation], size
    if isinstance(crop, Image.Image):
        return crop.resize((width, height), method)
    if isinstance(crop, Tensor):
        pixels = np.ascontiguousarray(crop.permute(1, 2, 0).numpy())
        return resample(pixels, size, interpolation)
    # Channel by channel: Pillow takes a fourth channel for transparency and knows no fifth.
    planes = [
        np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize((width, height), method))
        for plane in np.moveaxis(np.atleast_3d(crop), -1, 0)
    ]
    return np.stack(planes, axis=-1).reshape(height, width, *crop.shape[2:])


@TRANSFORMS.register_module()
class TwoViewRandomResizedCrop(TwoViews):
    """Crop at random and resample the same crop to two sizes, both with antialiasing.

    Replaces ``img``, a PIL image, a (H, W, C) uint8 array or a (C, H, W) tensor, uint8 or float32
    in [0, 255], by the list of both views, of the type that was given, and sets ``img_shape`` to
    the first one's (h, w).

    Args:
        size: Height and width of the Transformer's view in pixels, a number or a pair.
        second_size: Of the tokenizer's view; None where there is none, as in MAE.
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
        second_size: int | Sequence[int] | None = 112,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = 'bicubic',
        second_interpolation: str = 'lanczos',
    ) -> None:
        super().__init__(size, second_size, scale, ratio, interpolation, second_interpolation)

    def transform(self, results: dict) -> dict:
        """Replace the image by two views of one random crop."""
        image = results['img']
        if isinstance(image, np.ndarray):
            # get_params reads the size alone; an expanded element has that size and no pixels.
            size_only = torch.empty(1).expand(1, *image.shape[:2])
            top, left, height, width = self._crop_box(size_only)
            crop: Picture = image[top : top + height, left : left + width]
        elif isinstance(image, Tensor):
            top, left, height, width = self._crop_box(image)
            crop = image[:, top : top + height, left : left + width]
        else:
            # Pillow resamples palette images by the nearest pixel only.
            image = image.convert('RGB') if image.mode == 'P' else image
            top, left, height, width = self._crop_box(image)
            crop = image.crop((left, top, left + width, top + height))
        # The crop is cut out before it is resampled: no pixel outside reaches the filter.
        results['img'] = [
            _resample(crop, size, interpolation)
            for size, interpolation in zip(self.sizes, self.interpolations, strict=True)
        ]
        results['img_shape'] = self.sizes[0]
        return results

    def _crop_box(self, image: Image.Image | Tensor) -> tuple[int, int, int, int]:
        """Top, left, height and width of torchvision's random crop, of one pixel at least."""
        # Here, as torchvision takes longer to import than everything else of this package.
        from torchvision.transforms import RandomResizedCrop

        top, left, height, width = RandomResizedCrop.get_params(image, self.scale, self.ratio)
        # The central crop of an image few pixels wide rounds to none where the ratio is extreme;
        # Pillow resamples it to black or raises, by its version.
        return top, left, max(height, 1), max(width, 1)

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(sizes={self.sizes}, '
            f'scale={self.scale}, ratio={self.ratio}, interpolations={self.interpolations})'
        )
