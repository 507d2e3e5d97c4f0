"""An image in a file, whatever its format."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import NamedTuple

import numpy as np

GREY, COLORS, ALPHA = ('grey',), ('red', 'green', 'blue'), 'alpha'


class Box(NamedTuple):
    """A part of an image in pixels."""

    top: int
    left: int
    height: int
    width: int


class ImageFile(ABC):
    """An image that is open, of which any part can be read at its full depth.

    Attributes:
        size: (height, width) in pixels, turned as the file says.
        bands: A name each: 'grey'; 'red', 'green', 'blue'; 'alpha' of transparency, last; what the
            file calls them, or '1', '2', ... where it says nothing.
        dtype: Of the pixels: 'uint8', 'uint16', 'int16', 'uint32', 'int32', 'float32' or 'float64'.
        no_data: The value of pixels that hold no measurement, if the file names one.
        changes: What reading changes in the meaning of the file, a kind each, such as 'first of
            several pages taken'. The same words for all files of a kind: they are counted.
    """

    size: tuple[int, int]
    bands: tuple[str, ...]
    dtype: np.dtype
    no_data: float | None = None
    changes: tuple[str, ...] = ()

    @abstractmethod
    def read(self, box: Box | None = None, factor: int = 1) -> np.ndarray:
        """Read a part.

        Args:
            box: Inside the image; None for all of it.
            factor: 1, 2, 4 or 8, by which height and width may be reduced, where the format makes
                that cheap. Formats that do not reduce by less or not at all.

        Returns:
            (h, w, bands) of ``dtype``, C-contiguous. h and w are those of the box, or both reduced
            by one factor and rounded, 1 at least.
        """

    def close(self) -> None:  # noqa: B027
        """Let go of the file; there is nothing to let go of what is in memory."""

    def __enter__(self) -> 'ImageFile':
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Whole(ImageFile):
    """An image that is in memory already.

    Args:
        pixels: (H, W, bands), or (H, W) of one band.
        bands, no_data, changes: See :class:`ImageFile`; bands are numbered without.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        bands: tuple[str, ...] | None = None,
        no_data: float | None = None,
        changes: tuple[str, ...] = (),
    ) -> None:
        self.pixels = pixels if pixels.ndim == 3 else pixels[..., None]
        self.size = self.pixels.shape[0], self.pixels.shape[1]
        self.dtype = self.pixels.dtype
        self.bands = bands or numbered(self.pixels.shape[2])
        self.no_data, self.changes = no_data, changes

    def read(self, box: Box | None = None, factor: int = 1) -> np.ndarray:
        """Cut a part out; nothing is reduced."""
        if box is None:
            return np.ascontiguousarray(self.pixels)
        top, left, height, width = box
        return np.ascontiguousarray(self.pixels[top : top + height, left : left + width])


def numbered(count: int) -> tuple[str, ...]:
    """Names of bands that have none: one is grey, three are red, green and blue.

    >>> numbered(4)
    ('1', '2', '3', '4')
    """
    known = {1: GREY, 3: COLORS}
    return known.get(count) or tuple(str(number) for number in range(1, count + 1))
