"""A part of a page of TIFF: no more of its tiles or strips are decoded than it touches."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .image_file import Box
from .limits import refuse_piece

JPEG = (6, 7, 33007, 34892)
# Compression -> bytes that one can become at most: LZW's longest code, deflate's, PackBits'. Of
# others it is not known; a gray tile of many MB may be a few KB.
MOST_UNPACKED = {5: 2600, 8: 1040, 32946: 1040, 32773: 64}
OF_OTHERS = 100_000
# Below it is not worth a thought.
SMALL = 2**24


def mapped(source: Path | bytes, dtype: np.dtype, offset: int, shape: tuple[int, ...]) -> Any:
    """Numbers in a file that are not read before they are indexed.

    Raises:
        ValueError: If the file ends before.
    """
    if isinstance(source, bytes):
        count = int(np.prod(shape, dtype=object))
        return np.frombuffer(source, dtype, count, offset).reshape(shape)
    return np.memmap(source, dtype, 'r', offset, shape)


def read_page(page: Any, source: Path | bytes, box: Box) -> np.ndarray:
    """Read a part of a page.

    Args:
        page: A TiffPage of tifffile's, or a TiffFrame that shares the tags of one.
        source: The file, or what is in it.
        box: The part.

    Returns:
        (h, w, samples) as stored.

    Raises:
        ValueError: If the file is cut off or damaged there.
    """
    key = page.keyframe
    planes, depth, height, width, samples = key.shaped
    if depth != 1:
        raise ValueError(f'a page of it is a volume of {depth} slices, which is not read')
    if not len(page.dataoffsets):
        raise ValueError('a page of it has no pixels')
    top, left, rows, columns = box
    if key.is_memmappable:
        dtype = np.dtype(f'{key.parent.byteorder}{key.dtype.char}')
        stored = mapped(source, dtype, page.dataoffsets[0], (planes, height, width, samples))
        part = stored[:, top : top + rows, left : left + columns]
    else:
        part = None
        for decoded, (plane, begin, column) in _decoded(page, box):
            # Not before the first is there: a damaged file may claim any size.
            if part is None:
                part = np.full((planes, rows, columns, samples), key.nodata, key.dtype)
            # Both ends are the first row and column, or the last, that segment and part share.
            ends = (
                min(begin + decoded.shape[0], top + rows),
                min(column + decoded.shape[1], left + columns),
            )
            first, start = max(begin, top), max(column, left)
            part[plane, first - top : ends[0] - top, start - left : ends[1] - left] = decoded[
                first - begin : ends[0] - begin, start - column : ends[1] - column
            ]
        if part is None:
            part = np.full((planes, rows, columns, samples), key.nodata, key.dtype)
    return np.moveaxis(part, 0, 2).reshape(rows, columns, planes * samples)


def _decoded(page: Any, box: Box) -> Iterator[tuple[np.ndarray, tuple[int, int, int]]]:
    """The tiles or strips of a part, (h, w, samples) each, and their plane, row and column."""
    key = page.keyframe
    planes, _, height, width, samples = key.shaped
    long = key.tilelength if key.is_tiled else min(key.rowsperstrip, height)
    wide = key.tilewidth if key.is_tiled else width
    refuse_piece(long * wide * samples, key.dtype.itemsize, 'tile' if key.is_tiled else 'strip')
    down, across = -(-height // long), -(-width // wide)
    if len(page.dataoffsets) < planes * down * across:
        raise ValueError(
            f'it is damaged: its size takes {planes * down * across} tiles or strips, and it has '
            f'{len(page.dataoffsets)}'
        )
    size = long * wide * samples * key.dtype.itemsize
    settings = {'jpegtables': page.jpegtables, 'jpegheader': key.jpegheader}
    settings = settings if key.compression in JPEG else {}
    top, left, rows, columns = box
    for plane, row, column in itertools.product(
        range(planes),
        range(top // long, (top + rows - 1) // long + 1),
        range(left // wide, (left + columns - 1) // wide + 1),
    ):
        index = (plane * down + row) * across + column
        content = _content(page, index)
        # What is not stored has no data.
        if content is not None:
            most = len(content) * MOST_UNPACKED.get(key.compression, OF_OTHERS)
            if size > SMALL and size > most:
                raise ValueError(f'it is damaged: {len(content)} bytes of it cannot be {size}')
            decoded = decode(page, content, index, settings)
            yield decoded, (plane, row * long, column * wide)


def _content(page: Any, index: int) -> bytes | None:
    """What is stored of a tile or strip; None if it is left out."""
    offset, count = page.dataoffsets[index], page.databytecounts[index]
    if not offset or not count:
        return None
    file = page.parent.filehandle
    if offset + count > file.size:
        raise ValueError(f'it is cut off: it has {file.size} bytes, and needs {offset + count}')
    file.seek(offset)
    return file.read(count)


def decode(page: Any, content: bytes, index: int, settings: dict[str, Any]) -> np.ndarray:
    """Decode one tile or strip: (h, w, samples)."""
    decoded, _, _ = page.keyframe.decode(content, index, **settings)
    return decoded[0]
