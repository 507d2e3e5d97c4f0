"""JPEG 2000 at full depth: by window through GDAL, whole through imagecodecs, else by Pillow.

TIFF is left to tifffile, which decodes no more than GDAL does and does not need it. Satellites'
JPEG 2000 is large, and no other library decodes a part of it.
"""

import functools
import importlib.util
import io
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from . import by_pillow
from .depths import keep, kept_dtype
from .image_file import ALPHA, Box, ImageFile, Whole, numbered
from .levels import box_in_level, choose_level
from .limits import refuse_bomb
from .sliced import number_of

# Of a code stream, and how far behind it the depth of its first band stands.
BEGIN, DEPTH = b'\xff\x4f\xff\x51', 42


def open_file(source: Path | bytes, frame: str | None) -> ImageFile:
    """See :class:`beit_mm.datasets.reading.opening.Reader`."""
    number_of(frame or '0', 1)
    if importlib.util.find_spec('rasterio'):
        return Raster(source)
    content = source if isinstance(source, bytes) else source.read_bytes()
    if not importlib.util.find_spec('imagecodecs'):
        photo = by_pillow.open_file(content, frame)
        if photo.dtype == np.uint8 and _bits(content) > 8:
            photo.changes = (*photo.changes, by_pillow.REDUCED)
        return photo
    import imagecodecs

    # Its header claims a size; Pillow refuses one that is too large.
    with Image.open(io.BytesIO(content)) as image:
        has_alpha = image.mode in ('LA', 'RGBA')
    pixels = imagecodecs.jpeg2k_decode(content)
    bands = pixels.shape[2] if pixels.ndim == 3 else 1
    names = numbered(bands - has_alpha) + (ALPHA,) * has_alpha
    return Whole(keep(pixels), names)


def _bits(content: bytes) -> int:
    """Of the first band, as the marker SIZ of ISO/IEC 15444-1 A.5.1 has them."""
    place = content.find(BEGIN)
    return (content[place + DEPTH] & 0x7F) + 1 if place >= 0 else 8


def list_frames(source: Path | bytes) -> list[str]:
    """No stacks."""
    return []


class Raster(ImageFile):
    """An image that GDAL has open.

    Args:
        source: A file, or what is in one.
    """

    def __init__(self, source: Path | bytes) -> None:
        import rasterio

        self.held = ExitStack()
        if isinstance(source, bytes):
            self.open = self.held.enter_context(rasterio.MemoryFile(source)).open
        else:
            self.open = functools.partial(rasterio.open, source)
        try:
            with _unplaced():
                self.raster = self.held.enter_context(self.open())
            self._describe()
        except BaseException:
            self.held.close()
            raise

    def _describe(self) -> None:
        raster = self.raster
        self.size = raster.height, raster.width
        kinds = {np.dtype(name) for name in raster.dtypes}
        self.dtype = kept_dtype(np.result_type(*kinds))
        has_alpha = raster.count > 1 and raster.colorinterp[-1].name == 'alpha'
        names = (*numbered(raster.count - has_alpha), *(ALPHA,) * has_alpha)
        described = tuple(name or own for name, own in zip(raster.descriptions, names, strict=True))
        self.bands = described if len(set(described)) == len(names) else names
        self.no_data = raster.nodata
        # Levels that GDAL reads by less work, the image itself first.
        self.factors = [1, *raster.overviews(1)]
        self.sizes = [(-(-self.size[0] // f), -(-self.size[1] // f)) for f in self.factors]

    def read(self, box: Box | None = None, factor: int = 1) -> np.ndarray:
        """Read a part, of the resolution that fits."""
        level = choose_level(self.sizes, factor)
        part = box or Box(0, 0, *self.size)
        if not level:
            return self._read(self.raster, part)
        part = box_in_level(self.size, self.sizes[level], part)
        with _unplaced(), self.open(overview_level=level - 1) as reduced:
            return self._read(reduced, part)

    def _read(self, raster: Any, part: Box) -> np.ndarray:
        from rasterio.windows import Window

        top, left, height, width = part
        refuse_bomb(height, width, len(self.bands) * self.dtype.itemsize)
        pixels = raster.read(window=Window(left, top, width, height))
        return keep(np.moveaxis(pixels, 0, -1))

    def close(self) -> None:
        """Let go of the file."""
        self.held.close()


@contextmanager
def _unplaced() -> Iterator[None]:
    """Say nothing of photos that have no place on the Earth."""
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter('ignore', NotGeoreferencedWarning)
        yield
