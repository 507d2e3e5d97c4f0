"""An image that is stored turned or mirrored, as a tag of TIFF or EXIF says."""

import numpy as np

from .image_file import Box, ImageFile

# Values of the tag Orientation, of TIFF 6.0 and EXIF 2.3: rows and columns are swapped, then rows
# are turned over, then columns.
SWAPPED, ROWS_OVER, COLUMNS_OVER = (5, 6, 7, 8), (3, 4, 7, 8), (2, 3, 6, 7)


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W, bands) as it is to be seen.

    >>> turn(np.array([[[1], [2]]]), 6)[..., 0].tolist()
    [[1], [2]]
    """
    if orientation in SWAPPED:
        pixels = pixels.swapaxes(0, 1)
    if orientation in ROWS_OVER:
        pixels = pixels[::-1]
    if orientation in COLUMNS_OVER:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


class Turned(ImageFile):
    """An open image, turned.

    Args:
        image: As it is stored.
        orientation: 2 to 8.
    """

    def __init__(self, image: ImageFile, orientation: int) -> None:
        self.image, self.orientation = image, orientation
        height, width = image.size
        self.size = (width, height) if orientation in SWAPPED else (height, width)
        self.bands, self.dtype = image.bands, image.dtype
        self.no_data, self.changes = image.no_data, image.changes

    def read(self, box: Box | None = None, factor: int = 1) -> np.ndarray:
        """Read the part that is stored for this one, and turn it."""
        top, left, height, width = box or Box(0, 0, *self.size)
        if self.orientation in ROWS_OVER:
            top = self.size[0] - top - height
        if self.orientation in COLUMNS_OVER:
            left = self.size[1] - left - width
        stored = Box(top, left, height, width)
        if self.orientation in SWAPPED:
            stored = Box(left, top, width, height)
        return turn(self.image.read(stored, factor), self.orientation)

    def close(self) -> None:
        """Let go of the file."""
        self.image.close()


def turned(image: ImageFile, orientation: int) -> ImageFile:
    """The image as it is to be seen; what is no orientation changes nothing."""
    return Turned(image, orientation) if orientation in range(2, 9) else image
