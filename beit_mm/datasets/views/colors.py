"""Brightness, contrast and saturation of a photo."""

import random

import cv2
import numpy as np
from mmcv.transforms import BaseTransform

from ...registry import TRANSFORMS

# Weights of R, G, B in a pixel's luminance (ITU-R BT.601), which Pillow's grey images are made by.
LUMA = (0.299, 0.587, 0.114)


def change_colors(image: np.ndarray, jitter: tuple[tuple[str, float], ...]) -> np.ndarray:
    """Change brightness, contrast and saturation in the order given.

    Each mixes the image with black, with its mean luminance, or with its own luminance, and clips,
    as torchvision's functions of these names do. A factor up to 1 leaves nothing to clip, so that
    change and the next are one matrix. Pillow rounds down after each change; here values are
    rounded to the nearest, so that the mean is about one grey level brighter.

    Images of other than three bands have no saturation, and the mean of all bands in the place of
    the mean luminance.

    Args:
        image: (H, W, bands) uint8, or float32 in [0, 255]; red, green and blue if they are three.
        jitter: (name, factor) pairs; a factor of 1 changes nothing.

    Returns:
        Of the same shape and type.
    """
    bands = image.shape[2]
    in_colors = bands == len(LUMA)
    # A pixel x of luminance L(x) becomes own * x + grey * L(x) + offset; L adds up, and L(1) is 1.
    own, grey, offset = 1.0, 0.0, 0.0
    for name, factor in jitter:
        if name == 'saturation':
            if not in_colors:
                continue
            own, grey = factor * own, grey + (1 - factor) * own
        else:
            shift = 0.0
            if name == 'contrast':
                luminance = (own + grey) * _mean_luminance(image) + offset
                shift = (1 - factor) * (round(luminance) if image.dtype == np.uint8 else luminance)
            own, grey, offset = factor * own, factor * grey, factor * offset + shift
        if factor > 1:
            image = _mix_colors(image, own, grey, offset)
            own, grey, offset = 1.0, 0.0, 0.0
    return image if (own, grey, offset) == (1, 0, 0) else _mix_colors(image, own, grey, offset)


def _mean_luminance(image: np.ndarray) -> float:
    """Of three bands in these weights, of others the mean."""
    if image.shape[2] == len(LUMA):
        return sum(w * c for w, c in zip(LUMA, cv2.mean(image), strict=False))
    return float(image.mean())


def _mix_colors(image: np.ndarray, own: float, grey: float, offset: float) -> np.ndarray:
    """own * x + grey * L(x) + offset, clipped to [0, 255], bytes rounded."""
    if image.shape[2] == len(LUMA):
        r, g, b = (grey * weight for weight in LUMA)
        matrix = [[r + own, g, b, offset], [r, g + own, b, offset], [r, g, b + own, offset]]
        mixed = cv2.transform(image, np.array(matrix, np.float32))
        return mixed if image.dtype == np.uint8 else np.clip(mixed, 0, 255, out=mixed)
    mixed = np.clip(image * np.float32(own) + np.float32(offset), 0, 255)
    return np.rint(mixed).astype(np.uint8) if image.dtype == np.uint8 else mixed


@TRANSFORMS.register_module()
class JitterBands(BaseTransform):
    """Change brightness and contrast at random, of images of any bands and depth.

    Changes ``img``, (H, W) or (H, W, bands), uint8 or float32 in [0, 255].

    Args:
        brightness, contrast: Each factor is uniform in [1 - x, 1 + x], 0 <= x <= 1.

    Raises:
        ValueError: If one is out of range.
    """

    def __init__(self, brightness: float = 0.4, contrast: float = 0.4) -> None:
        self.shares = dict(brightness=brightness, contrast=contrast)
        for name, share in self.shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f'{name} is {share}; it must be 0 to 1')

    def transform(self, results: dict) -> dict:
        """Change the image."""
        image = results['img']
        # NumPy's global state is what mmengine seeds in each loader worker.
        rng = random.Random(int.from_bytes(np.random.bytes(16), 'little'))
        jitter = [(name, 1 + x * (2 * rng.random() - 1)) for name, x in self.shares.items()]
        rng.shuffle(jitter)
        bands = image.reshape(*image.shape[:2], -1)
        results['img'] = change_colors(bands, tuple(jitter)).reshape(image.shape)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({", ".join(f"{n}={x}" for n, x in self.shares.items())})'
