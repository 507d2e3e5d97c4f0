"""NIfTI: volumes, of which an axial slice is an image."""

import gzip
import io
import logging
import math
from pathlib import Path
from typing import IO, Any

import numpy as np

from .depths import changes_of, keep, kept_dtype
from .image_file import ALPHA, COLORS, Box, ImageFile, numbered
from .limits import refuse_bomb, refuse_cut_off, refuse_list
from .sliced import FIRST_OF_STACK, MOST_BANDS, number_of

GZIP = b'\x1f\x8b'
# Bytes that one of gzip can become.
MOST_UNPACKED = 1040


def open_file(source: Path | bytes, frame: str | None) -> ImageFile:
    """See :class:`beit_mm.datasets.reading.opening.Reader`; no more than a slice is read.

    Slices are numbered from the feet up. The front of the body is the first row and its left side
    the first column, by the file's affine. Numbers are scaled as the file says, to float32, or are
    as stored where it does not scale.
    """
    file = _stream(source)
    try:
        return Volume(_load_whole(file, source), file, frame)
    except BaseException:
        file.close()
        raise


def list_frames(source: Path | bytes) -> list[str]:
    """The slices of a volume by number; of several in a file, volume by volume."""
    with _stream(source) as file:
        count = Volume(_load_whole(file, source), file, None).count
    refuse_list(count)
    return [str(n) for n in range(count)] if count > 1 else []


def _stream(source: Path | bytes) -> Any:
    file: Any = io.BytesIO(source) if isinstance(source, bytes) else source.open('rb')
    packed = file.read(2) == GZIP
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if packed else file


def _load_whole(file: Any, source: Path | bytes) -> Any:
    """nibabel's image of a file that is as long as it must be."""
    image = _load(file, source)
    data = image.dataobj
    needed = math.prod(int(n) for n in data.shape) * data.dtype.itemsize
    held = _length(source)
    if isinstance(file, gzip.GzipFile):
        held *= MOST_UNPACKED
    elif not hasattr(data.file_like, 'read'):
        held = _length(Path(data.file_like))
    refuse_cut_off(needed, held, 'volume')
    return image


def _length(source: Path | bytes) -> int:
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def _load(file: Any, source: Path | bytes) -> Any:
    """nibabel's image, whose numbers are still in the file."""
    from nibabel import Nifti1Image, Nifti1Pair, Nifti2Image, Nifti2Pair
    from nibabel.fileholders import FileHolder

    # What a header lacks is told by the error, or by none where its slices can be read.
    logging.getLogger('nibabel.global').setLevel(logging.CRITICAL)

    head = file.read(352)
    file.seek(0)
    second = 540 in (int.from_bytes(head[:4], order) for order in ('little', 'big'))
    magic = head[4:7] if second else head[344:347]
    if magic not in (b'n+1', b'ni1', b'n+2', b'ni2'):
        raise ValueError('it is no NIfTI file: its magic number is not there')
    if magic[:2] == b'n+':
        kind = Nifti2Image if second else Nifti1Image
        return kind.from_file_map({'image': FileHolder(fileobj=file)})
    if isinstance(source, bytes):
        raise ValueError('its pixels lie in another file, the .img of its .hdr')
    pixels = FileHolder(str(source.with_suffix('.img')))
    beside = {'header': FileHolder(fileobj=file), 'image': pixels}
    return (Nifti2Pair if second else Nifti1Pair).from_file_map(beside)


class Volume(ImageFile):
    """A slice of a volume.

    Args:
        image: nibabel's.
        file: What is open.
        frame: Number of the slice; None for the first.

    Attributes:
        count: Number of slices.
    """

    def __init__(self, image: Any, file: IO[bytes], frame: str | None) -> None:
        self.data, self.file = image.dataobj, file
        shape = tuple(self.data.shape)
        if len(shape) < 2 or 0 in shape:
            raise ValueError(f'its numbers are {shape}, which is no image')
        beyond = shape[3:]
        # The last axis holds bands if it is short, such as the kinds of a scan or a vector.
        self.has_bands = bool(beyond) and 1 < beyond[-1] <= MOST_BANDS
        self.times = beyond[:-1] if self.has_bands else beyond
        self._orient(image.affine, shape)
        slices = 1 if self.across is None else shape[self.across]
        self.count = slices * math.prod(self.times)
        number = 0 if frame is None else number_of(frame, self.count)
        self.changes = (FIRST_OF_STACK,) if frame is None and self.count > 1 else ()
        time, self.place = divmod(number, slices)
        if self.across is not None and self.over[self.across]:
            self.place = slices - 1 - self.place
        # The first of these axes runs fastest.
        self.time = [int(t) for t in np.unravel_index(time, self.times or (1,), order='F')]
        self.size = shape[self.rows], shape[self.columns]
        self._name_bands(beyond[-1] if self.has_bands else 1)

    def _orient(self, affine: np.ndarray, shape: tuple[int, ...]) -> None:
        """Find which axes are rows and columns, which one slices are numbered by, and turned over.

        Sets ``over``: axis -> whether it runs against right, front and head.
        """
        from nibabel.orientations import io_orientation

        found = io_orientation(affine)
        known = np.isfinite(found).all() and sorted(found[:, 0]) == [0, 1, 2]
        found = found if known else np.array([[0, 1], [1, 1], [2, 1]])
        place = [int(p) for p in found[:, 0]]
        self.over = [flip < 0 for flip in found[:, 1]]
        # One slice is an image, however it lies.
        self.across = None if len(shape) == 2 else 2 if shape[2] == 1 else place.index(2)
        axes = [axis for axis in range(min(len(shape), 3)) if axis != self.across]
        self.columns, self.rows = sorted(axes, key=lambda axis: place[axis])

    def _name_bands(self, count: int) -> None:
        fields = self.data.dtype.names
        scales = (self.data.slope, self.data.inter) != (1, 0)
        if fields:
            self.bands = (*COLORS, ALPHA)[: len(fields)]
            self.dtype = kept_dtype(self.data.dtype[0])
        else:
            self.bands = numbered(count)
            self.dtype = np.dtype('float32') if scales else kept_dtype(self.data.dtype)
            self.changes += () if scales else changes_of(self.data.dtype)

    def read(self, box: Box | None = None, factor: int = 1) -> np.ndarray:
        """Read a part of the slice; nothing is reduced."""
        top, left, height, width = box or Box(0, 0, *self.size)
        refuse_bomb(height, width, len(self.bands) * 8)
        # Rows begin in front, columns on the left.
        rows_over, columns_over = not self.over[self.rows], self.over[self.columns]
        if rows_over:
            top = self.size[0] - top - height
        if columns_over:
            left = self.size[1] - left - width
        where: list[Any] = [slice(None)] * min(self.data.ndim, 3)
        where[self.rows], where[self.columns] = slice(top, top + height), slice(left, left + width)
        if self.across is not None:
            where[self.across] = self.place
        where += self.time if self.times else []
        pixels = np.asarray(self.data[tuple([*where, slice(None)] if self.has_bands else where)])
        if pixels.dtype.names:
            pixels = np.stack([pixels[name] for name in pixels.dtype.names], axis=-1)
        if self.rows > self.columns:
            pixels = pixels.swapaxes(0, 1)
        pixels = pixels[:: -1 if rows_over else 1, :: -1 if columns_over else 1]
        pixels = pixels if pixels.ndim == 3 else pixels[..., None]
        return keep(pixels.astype(self.dtype) if self.dtype == np.float32 else pixels)

    def close(self) -> None:
        """Let go of the file."""
        self.file.close()
