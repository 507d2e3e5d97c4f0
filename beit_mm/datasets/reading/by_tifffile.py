"""TIFF of any kind: tiles or strips, pyramids, pages and stacks, and what microscopes add to it."""

import contextlib
import importlib.util
import io
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np

from . import by_pillow
from .depths import changes_of, keep
from .image_file import Box, ImageFile
from .known_formats import FORMATS
from .levels import box_in_level, choose_level, is_of_same_images
from .limits import refuse_bomb
from .sliced import FIRST_OF_STACK, number_of
from .tiff_bands import no_data_of, stored_bands
from .tiff_pages import mapped, read_page
from .tiff_pixels import Colors, is_pillows
from .turned import turned

# Kinds of tifffile's whose pages are one volume, series or mosaic, and not pages of a book.
OF_STACKS = frozenset(
    ('ome', 'imagej', 'shaped', 'lsm', 'stk', 'fluoview', 'mmstack', 'micromanager', 'nih')
)
# Kinds that hold one image, with a label and a thumbnail beside it.
OF_SLIDES = frozenset(('svs', 'ndpi', 'scn', 'bif', 'philips', 'qpi'))
ORIENTATION = 274
# Letters of tifffile's axes; all others are places in a stack.
OF_IMAGE = {'Y': 'H', 'X': 'W', 'C': 'C', 'S': 'S'}


def open_file(source: Path | bytes, frame: str | None) -> ImageFile:
    """See :class:`beit_mm.datasets.reading.opening.Reader`; turned as its tag says.

    Of a part no more tiles or strips are decoded than it touches, and of a pyramid the level that
    fits. Without tifffile and imagecodecs what Pillow can read of it.
    """
    if not can_read():
        try:
            return by_pillow.open_file(source, frame)
        except Exception as error:
            needed = FORMATS['slide'].package
            raise ValueError(f'{error}; other kinds of TIFF take {needed}') from error
    file = _open(source)
    try:
        images, is_stack = _images(file)
        if frame is None:
            number, several = 0, len(images) > 1
        else:
            number, several = number_of(frame, len(images)), False
        series, place = images[number]
        if is_pillows(series.keyframe):
            page = None if frame is None else str(_page_number(series, place))
            file.close()
            return by_pillow.open_file(source, page)
        taken = FIRST_OF_STACK if is_stack else by_pillow.FIRST_TAKEN
        image = Tiff(file, source, series, place, (taken,) if several else ())
        return turned(image, _orientation(series.keyframe))
    except BaseException:
        file.close()
        raise


def list_frames(source: Path | bytes) -> list[str]:
    """The images of a volume or series by number; none of a book's pages."""
    if not can_read():
        return by_pillow.list_frames(source)
    with contextlib.closing(_open(source)) as file:
        images, is_stack = _images(file)
        return [str(n) for n in range(len(images))] if is_stack and len(images) > 1 else []


def can_read() -> bool:
    """Whether the packages for it are installed."""
    return all(importlib.util.find_spec(name) for name in ('tifffile', 'imagecodecs'))


def _open(source: Path | bytes) -> Any:
    import tifffile

    # What is wrong with a file is told by the error, or by no error where its pixels are whole.
    logging.getLogger('tifffile').setLevel(logging.CRITICAL)
    return tifffile.TiffFile(io.BytesIO(source) if isinstance(source, bytes) else source)


def _images(file: Any) -> tuple[list[tuple[Any, int]], bool]:
    """(series, number in it) of each image, and whether they are a stack."""
    kept = [s for s in file.series if 'Y' in s.axes and 'X' in s.axes and 0 not in s.shape]
    # Masks of transparency, and reductions that are in no pyramid.
    kept = [s for s in kept if not s.keyframe.is_mask and not s.keyframe.is_reduced] or kept
    if not kept:
        raise ValueError('it holds no image')
    kind = kept[0].kind
    if kind in OF_SLIDES:
        kept = kept[:1]
    images = [(s, number) for s in kept for number in range(math.prod(_lengths(s)))]
    if any(s.is_multifile for s in kept):
        # OME lists the planes of a whole experiment in each of its files.
        images = [(s, n) for s, n in images if all(_is_in(file, p) for p in _pages(s, n))]
        if not images:
            raise ValueError('it holds no whole image: the channels of one lie in several files')
    if kind not in OF_STACKS and len(kept) > 1:
        images.sort(key=lambda image: _page_number(*image))
    return images, kind in OF_STACKS


def _stack(series: Any) -> list[tuple[str, int]]:
    """The axes whose places are pages, bands among them."""
    return [(a, n) for a, n in zip(series.axes, series.shape, strict=True) if a not in 'YXS']


def _page_number(series: Any, number: int) -> int:
    index = series[number].index
    return index[0] if isinstance(index, tuple) else index


def _orientation(page: Any) -> int:
    tag = page.tags.get(ORIENTATION)
    return tag.value if tag is not None and isinstance(tag.value, int) else 1


class Tiff(ImageFile):
    """An image in an open TIFF file.

    Args:
        file: The tifffile.TiffFile.
        source: What it was opened from.
        series: The tifffile.TiffPageSeries that it is in.
        number: Its place in that.
        changes: By which it was chosen.
    """

    def __init__(
        self, file: Any, source: Path | bytes, series: Any, number: int, changes: tuple[str, ...]
    ) -> None:
        self.file, self.source, self.number = file, source, number
        alike = (level for level in series.levels if level.axes == series.axes)
        axes, shape = series.axes, series.shape
        self.levels = [v for v in alike if is_of_same_images(axes, shape, v.shape, 'YX')]
        self.sizes = [_size(level) for level in self.levels]
        self.size, page = self.sizes[0], series.keyframe
        self.channels = dict(_stack(series)).get('C', 1)
        self.stored = self.channels * page.samplesperpixel * page.dtype.itemsize
        bands = stored_bands(file, page, self.channels)
        self.colors = Colors(page, bands, no_data_of(page))
        self.bands, self.dtype = self.colors.bands, self.colors.dtype
        self.no_data = self.colors.no_data
        self.changes = (*changes, *self.colors.changes, *changes_of(page.dtype))

    def read(self, box: Box | None = None, factor: int = 1) -> np.ndarray:
        """Read a part, of the level that fits."""
        level = choose_level(self.sizes, factor)
        part = box or Box(0, 0, *self.size)
        if level:
            part = box_in_level(self.size, self.sizes[level], part)
        refuse_bomb(part.height, part.width, self.stored)
        series = self.levels[level]
        if series.dataoffset is not None and not series.is_multifile:
            pixels = self._mapped(series, part)
        else:
            pages = _pages(series, self.number)
            if any(page is None for page in pages):
                raise ValueError('a page of it is missing')
            parts = [read_page(page, self.source, part) for page in pages]
            pixels = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
        return keep(self.colors(pixels))

    def close(self) -> None:
        """Let go of the file."""
        self.file.close()

    def _mapped(self, series: Any, part: Box) -> np.ndarray:
        """Of a series whose pages lie one behind the other, as they are: (h, w, stored bands)."""
        dtype = np.dtype(f'{self.file.byteorder}{series.dtype.char}')
        stored = mapped(self.source, dtype, series.dataoffset, tuple(series.shape))
        order = ''.join(OF_IMAGE.get(axis, 'N') for axis in series.axes)
        top, left, height, width = part
        rows, columns = slice(top, top + height), slice(left, left + width)
        places = iter(np.unravel_index(self.number, _lengths(series) or (1,)))
        taken = {'H': rows, 'W': columns, 'C': slice(None), 'S': slice(None)}
        pixels = stored[tuple(taken[a] if a in taken else next(places) for a in order)]
        left_over = order.replace('N', '')
        pixels = pixels.transpose([left_over.index(a) for a in 'HWCS' if a in left_over])
        return pixels.reshape(height, width, -1)


def _pages(series: Any, number: int) -> list[Any]:
    """The pages that an image is made of: one, or one a channel."""
    stack = _stack(series)
    numbers = np.arange(math.prod(n for _, n in stack)).reshape([n for _, n in stack])
    if 'C' in dict(stack):
        numbers = np.moveaxis(numbers, [axis for axis, _ in stack].index('C'), -1)
    channels = dict(stack).get('C', 1)
    return [series[int(n)] for n in numbers.reshape(-1, channels)[number]]


def _is_in(file: Any, page: Any) -> bool:
    """Whether a page is there, and in this file."""
    return page is not None and page.parent is file


def _size(series: Any) -> tuple[int, int]:
    sizes = dict(zip(series.axes, series.shape, strict=True))
    return sizes['Y'], sizes['X']


def _lengths(series: Any) -> tuple[int, ...]:
    """Of the axes that are places in a stack."""
    return tuple(n for axis, n in _stack(series) if axis != 'C')
