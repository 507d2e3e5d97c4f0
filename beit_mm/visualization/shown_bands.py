"""Pictures of images of any bands: three of them as red, green and blue."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

COLORS = ('red', 'green', 'blue')
# What `shown` is everywhere: names or numbers, counted from 1, of one band or of three.
Shown = Sequence[str | int] | None


def shown_places(
    count: int, shown: Shown = None, bands: Sequence[str] | None = None
) -> tuple[int, int, int]:
    """Which bands of an image are shown as red, green and blue.

    Args:
        count: Number of its bands.
        shown: Three names or numbers, counted from 1, or one to be shown in grey. None for red,
            green and blue where there are such names, else the first three, else the first in grey.
        bands: Names of the bands, if they are known.

    Returns:
        Counted from 0.

    Raises:
        ValueError: If there are no such bands.

    >>> shown_places(4, None, ('nir', 'red', 'green', 'blue'))
    (1, 2, 3)
    >>> shown_places(13, (4, 3, 2)), shown_places(2)
    ((3, 2, 1), (0, 0, 0))
    """
    names = list(bands) if bands is not None and len(bands) == count else []
    if shown is None:
        shown = COLORS if set(COLORS) <= set(names) else (1, 2, 3) if count >= 3 else (1,)
    wanted = (shown,) if isinstance(shown, (str, int)) else tuple(shown)
    places = [_place(band, count, names) for band in wanted]
    if len(places) not in (1, 3):
        raise ValueError(f'shown is {list(wanted)}; it must be three bands, or one')
    red, green, blue = places * (3 // len(places))
    return red, green, blue


def _place(band: str | int, count: int, names: list[str]) -> int:
    if band in names:
        return names.index(str(band))
    if str(band).isdigit() and 1 <= int(band) <= count:
        return int(band) - 1
    there = ', '.join(names) or f'1 to {count}'
    raise ValueError(f'shown has {band!r}; the bands are {there}')


def in_three_bands(
    images: Tensor, shown: Shown = None, bands: Sequence[str] | None = None
) -> Tensor:
    """The shown bands of images, clipped.

    Args:
        images: (B, C, H, W) float, [0, 1] from black to white.
        shown, bands: See :func:`shown_places`.

    Returns:
        (B, 3, H, W) in [0, 1].
    """
    return images[:, list(shown_places(images.shape[1], shown, bands))].clamp(0, 1)


def as_photo(
    pixels: np.ndarray, shown: Shown = None, bands: Sequence[str] | None = None
) -> np.ndarray:
    """The shown bands of an image as a photo of 8 bits.

    Args:
        pixels: (H, W, C) in [0, 255], uint8 or floating, which is clipped and rounded.
        shown, bands: See :func:`shown_places`.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    places = shown_places(pixels.shape[2], shown, bands)
    taken = pixels if places == (0, 1, 2) == tuple(range(pixels.shape[2])) else pixels[..., places]
    return taken if taken.dtype == np.uint8 else np.rint(taken.clip(0, 255)).astype(np.uint8)
