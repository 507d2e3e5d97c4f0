"""From the numbers that TIFF stores to pixels: inverted, packed, of a palette or of inks."""

from typing import Any

import numpy as np

from .by_pillow import FROM_INKS
from .depths import kept_dtype
from .image_file import ALPHA, COLORS

# TIFF 6.0, PhotometricInterpretation.
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, INKS, LUMA = 0, 1, 2, 3, 5, 6
# Compressions that hand on RGB where luma and chroma are stored: JPEG's, JPEG 2000's, WebP's.
AS_RGB = frozenset((6, 7, 33007, 34892, 33003, 33005, 34712, 50001, 50002))


def is_pillows(page: Any) -> bool:
    """Whether an image is in colors that tifffile hands on as they are, and Pillow may convert."""
    luma = page.photometric == LUMA and page.compression not in AS_RGB
    known = (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, INKS, LUMA, None)
    return luma or page.photometric not in known or not isinstance(page.bitspersample, int)


class Colors:
    """Turns stored numbers into pixels.

    Args:
        page: The tifffile.TiffPage that speaks for the image.
        stored: Names of the bands as they are stored.
        no_data: The stored value for it.

    Attributes:
        bands, dtype, no_data, changes: Of the pixels.
    """

    def __init__(self, page: Any, stored: tuple[str, ...], no_data: float | None) -> None:
        self.photometric, self.bits = page.photometric, page.bitspersample
        self.bands, self.dtype, self.no_data = stored, kept_dtype(page.dtype), no_data
        self.changes: tuple[str, ...] = ()
        # Its own colors are multiplied by how opaque a pixel is.
        extra = tuple(page.extrasamples)
        self.multiplied = stored[-1] == ALPHA and extra[-1] == 1
        self.table = None
        if self.photometric == PALETTE and page.colormap is not None and len(stored) == 1:
            self.table = _table(np.asarray(page.colormap))
            self.bands, self.dtype, self.no_data = COLORS, self.table.dtype, None
        if self.photometric == INKS and len(stored) >= 4 and self.dtype.kind == 'u':
            rest = stored[4:] if stored[-1:] == (ALPHA,) else ()
            self.bands, self.changes = (*COLORS, *rest), (FROM_INKS,)
        if self.photometric == WHITE_IS_ZERO and no_data is not None:
            self.no_data = float(self._invert(np.array(no_data, page.dtype)))

    def __call__(self, stored: np.ndarray) -> np.ndarray:
        """(h, w, stored bands) as the file has them to (h, w, bands)."""
        if self.table is not None:
            return self.table[np.minimum(stored[..., 0], len(self.table) - 1)]
        if self.photometric == WHITE_IS_ZERO:
            stored = self._invert(stored)
        if self.bits < 8 and stored.dtype == np.uint8:
            most = 2**self.bits - 1
            stored = ((stored.astype(np.uint16) * 255 + most // 2) // most).astype(np.uint8)
        if self.changes:
            stored = _from_inks(stored, len(self.bands) - 3)
        return _divided(stored) if self.multiplied else stored

    def _invert(self, stored: np.ndarray) -> np.ndarray:
        if stored.dtype.kind == 'u':
            return np.asarray((2**self.bits - 1) - stored).astype(stored.dtype)
        # Numbers with a sign, and fractions, have no white.
        return ~stored if stored.dtype.kind in 'ib' else stored


def _table(colormap: np.ndarray) -> np.ndarray:
    """(3, n) of 16 bits to (n, 3) uint8. Some programs write 8 bits, as libtiff knows."""
    deep = colormap.max(initial=0) > 255
    return np.ascontiguousarray((colormap >> 8 if deep else colormap).T.astype(np.uint8))


def _from_inks(stored: np.ndarray, rest: int) -> np.ndarray:
    """The light that cyan, magenta, yellow and black leave, as Pillow has it: without a profile."""
    most = np.iinfo(stored.dtype).max
    light = most - stored[..., :4].astype(np.float64)
    colors = np.rint(light[..., :3] * light[..., 3:] / most).astype(stored.dtype)
    return np.concatenate([colors, stored[..., -rest:]], axis=2) if rest else colors


def _divided(stored: np.ndarray) -> np.ndarray:
    """Colors that are multiplied by alpha as they were before."""
    alpha = stored[..., -1:].astype(np.float64)
    most = np.iinfo(stored.dtype).max if stored.dtype.kind in 'iu' else 1.0
    colors = stored[..., :-1].astype(np.float64) * most / np.where(alpha > 0, alpha, 1)
    if stored.dtype.kind in 'iu':
        colors = np.rint(np.clip(colors, 0, most))
    return np.concatenate([colors.astype(stored.dtype), stored[..., -1:]], axis=2)
