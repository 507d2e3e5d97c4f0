"""HDF5: each of its datasets is an image, or a stack of them."""

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .depths import kept_dtype
from .image_file import ImageFile
from .limits import refuse_piece
from .sliced import Sliced, choose_array, frames_of


def open_file(source: Path | bytes, frame: str | None) -> ImageFile:
    """See :class:`beit_mm.datasets.reading.opening.Reader`; a part is read by its chunks."""
    file = _open(source)
    try:
        array, axes, number, changes = choose_array(
            _datasets(file), lambda name: _dataset(file.get(name) if name else None), frame
        )
        refuse_piece(math.prod(array.chunks or ()), array.dtype.itemsize, 'chunk')
        return Sliced(array, axes, number, changes=changes, close=file.close)
    except BaseException:
        file.close()
        raise


def list_frames(source: Path | bytes) -> list[str]:
    """'group/dataset' of images, and 'group/dataset/0', ... of stacks."""
    with _open(source) as file:
        return frames_of(_datasets(file))


def _open(source: Path | bytes) -> Any:
    import h5py

    return h5py.File(io.BytesIO(source) if isinstance(source, bytes) else source, 'r')


def _dataset(item: Any) -> Any:
    """What is a dataset of numbers; else None."""
    import h5py

    if not isinstance(item, h5py.Dataset) or item.shape is None:
        return None
    try:
        kept_dtype(item.dtype)
    except ValueError:
        return None
    return item


def _datasets(file: Any) -> Iterator[tuple[str, Any]]:
    """Name -> dataset, of a file and the groups in it; links to elsewhere are not followed.

    A group that is reached in more than one way, or that holds itself, is searched once.
    """
    import h5py

    seen, waiting = {file.id}, [(file, '', iter(file))]
    while waiting:
        group, prefix, names = waiting[-1]
        name = next(names, None)
        if name is None:
            waiting.pop()
            continue
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        item = group[name]
        if isinstance(item, h5py.Group):
            # Two of one object are equal.
            if item.id not in seen:
                seen.add(item.id)
                waiting.append((item, f'{prefix}{name}/', iter(item)))
        elif (dataset := _dataset(item)) is not None:
            yield f'{prefix}{name}', dataset
