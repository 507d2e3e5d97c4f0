"""Arrays that NumPy wrote: .npy is mapped into memory, and .npz where it is not compressed."""

import io
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np

from .depths import kept_dtype
from .image_file import ImageFile
from .limits import refuse_cut_off, refuse_piece
from .sliced import Axes, Sliced, axes_of, choose_array, frames_of

ENDING = '.npy'
# Of the header of a member of a zip file, up to the lengths of its name and its extra field.
LOCAL_HEADER = 30


class Header(NamedTuple):
    """What is said before the numbers, which begin at ``offset``."""

    shape: tuple[int, ...]
    dtype: np.dtype
    order: Literal['C', 'F']
    offset: int


def open_file(source: Path | bytes, frame: str | None) -> ImageFile:
    """See :class:`beit_mm.datasets.reading.opening.Reader`.

    Sources: NumPy's NEP 1 of .npy, PKWARE's APPNOTE 4.3.7 of a zip file's members.
    """
    if not _is_zip(source):
        arrays = {'': _map(source, 0)}
        array, axes, number, changes = choose_array(arrays.items(), arrays.get, frame)
        return Sliced(array, axes, number, changes=changes)
    with zipfile.ZipFile(_stream(source)) as archive:
        members = dict(_members(source, archive))
        array, axes, number, changes = choose_array(members.items(), members.get, frame)
        if not isinstance(array, Packed):
            return Sliced(array, axes, number, changes=changes)
        image = array.read(archive, axes, number)
        return Sliced(image, Axes(axes.order.replace('N', '')), changes=changes)


def list_frames(source: Path | bytes) -> list[str]:
    """The images of a stack by number; those of an archive by array and number."""
    if not _is_zip(source):
        return frames_of([('', _map(source, 0))])
    with zipfile.ZipFile(_stream(source)) as archive:
        return frames_of(_members(source, archive))


def _is_zip(source: Path | bytes) -> bool:
    with _stream(source) as file:
        return file.read(2) == b'PK'


def _stream(source: Path | bytes) -> IO[bytes]:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open('rb')


def _header(file: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(file)
    known = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in known:
        raise ValueError(f'its version {version} is one of named fields, which are no image')
    shape, columns_first, dtype = known[version](file)
    kept_dtype(dtype)
    return Header(shape, dtype, 'F' if columns_first else 'C', file.tell())


def _map(source: Path | bytes, begin: int) -> np.ndarray:
    """An array in a file that is not read before it is indexed."""
    with _stream(source) as file:
        file.seek(begin)
        header = _header(file)
    shape, dtype, order, offset = header
    count = _product(shape)
    if not isinstance(source, bytes):
        held = source.stat().st_size - offset
        _check_whole(count * dtype.itemsize, held)
        return np.memmap(source, dtype, 'r', offset, shape, order)
    _check_whole(count * dtype.itemsize, len(source) - offset)
    return np.frombuffer(source, dtype, count, offset).reshape(shape, order=order)


def _product(lengths: tuple[int, ...]) -> int:
    return math.prod(int(length) for length in lengths)


def _check_whole(needed: int, held: int) -> None:
    if not needed:
        raise ValueError('its array is empty')
    refuse_cut_off(needed, held, 'array')


class Packed:
    """A compressed array in an archive: an image of it is reached through those before."""

    def __init__(self, info: zipfile.ZipInfo, header: Header) -> None:
        self.info, self.header = info, header
        self.shape, self.dtype = header.shape, header.dtype

    def read(self, archive: zipfile.ZipFile, axes: Axes, number: int) -> np.ndarray:
        """One image of the stack."""
        header, inner = self.header, self.shape[len(axes.stack) :]
        size = self.dtype.itemsize
        # Columns first, the numbers of one image lie everywhere.
        scattered = header.order == 'F' and axes.images > 1
        count = _product(self.shape if scattered else inner)
        refuse_piece(count, size, 'array' if scattered else 'image')
        _check_whole(header.offset + _product(self.shape) * size, self.info.file_size)
        with archive.open(self.info) as file:
            file.seek(header.offset + (0 if scattered else number * count * size))
            content = file.read(count * size)
        _check_whole(count * size, len(content))
        pixels = np.frombuffer(content, self.dtype)
        if not scattered:
            return pixels.reshape(inner, order=header.order)
        return pixels.reshape(self.shape, order='F').reshape(axes.images, *inner)[number]


def _members(source: Path | bytes, archive: zipfile.ZipFile) -> Iterator[tuple[str, Any]]:
    """Name -> array of each member that NumPy wrote; not of objects or records."""
    for info in archive.infolist():
        if not info.filename.endswith(ENDING):
            continue
        name = info.filename.removesuffix(ENDING)
        try:
            with archive.open(info) as file:
                header = _header(file)
        except ValueError:
            continue
        if info.compress_type != zipfile.ZIP_STORED:
            yield name, Packed(info, header)
        elif axes_of(header.shape):
            yield name, _map(source, _begin(source, info))


def _begin(source: Path | bytes, info: zipfile.ZipInfo) -> int:
    """Where the content of a member begins."""
    with _stream(source) as file:
        file.seek(info.header_offset)
        local = file.read(LOCAL_HEADER)
    lengths = (int.from_bytes(local[at : at + 2], 'little') for at in (26, 28))
    return info.header_offset + LOCAL_HEADER + sum(lengths)
