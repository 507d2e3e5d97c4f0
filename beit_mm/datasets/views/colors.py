"""Brightness, contrast and saturation of a photo."""

import cv2
import numpy as np

# Weights of R, G, B in a pixel's luminance (ITU-R BT.601), which Pillow's grey images are made by.
LUMA = (0.299, 0.587, 0.114)


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
