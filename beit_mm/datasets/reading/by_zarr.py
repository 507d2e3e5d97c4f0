"""Zarr: each of the arrays in its folder is an image, or a stack of them."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .depths import kept_dtype
from .image_file import ImageFile
from .levels import is_of_same_images
from .limits import refuse_piece
from .sliced import Axes, Sliced, axes_of, choose_array, frames_of

# Axes of OME-Zarr by the NGFF specification 0.4; all others are places in a stack.
OF_IMAGE = {'y': 'H', 'x': 'W', 'c': 'C'}


def open_file(source: Path | bytes, frame: str | None) -> ImageFile:
    """See :class:`beit_mm.datasets.reading.opening.Reader`; a part is read by its chunks.

    A pyramid of OME-Zarr is one image, with its channels' names.
    """
    root = _open(source)
    image, axes, number, changes = choose_array(
        _images(root), lambda name: _image(root, name), frame, _axes
    )
    levels = image.levels if isinstance(image, Pyramid) else [image]
    for array in levels:
        refuse_piece(math.prod(array.chunks), array.dtype.itemsize, 'chunk')
    bands = image.bands if isinstance(image, Pyramid) else ()
    return Sliced(levels[0], axes, number, levels=levels[1:], bands=bands, changes=changes)


def list_frames(source: Path | bytes) -> list[str]:
    """'group/array' of images, and 'group/array/0', ... of stacks."""
    return frames_of(_images(_open(source)), _axes)


def _open(source: Path | bytes) -> Any:
    import zarr

    if isinstance(source, bytes):
        raise ValueError('Zarr is a folder, and cannot be read from the bytes of a file')
    return zarr.open(str(source), mode='r')


class Pyramid:
    """What a group of OME-Zarr holds: an image and smaller versions of it, with as many slices."""

    def __init__(self, group: Any, ome: dict[str, Any]) -> None:
        described = ome['multiscales'][0]
        levels = [group[each['path']] for each in described['datasets']]
        names = [each['name'] if isinstance(each, dict) else each for each in described['axes']]
        self.shape = tuple(levels[0].shape)
        order = ''.join(OF_IMAGE.get(name, 'N') for name in names)
        stack = tuple(n for n, axis in zip(self.shape, order, strict=True) if axis == 'N')
        self.levels = [each for each in levels if is_of_same_images(order, self.shape, each.shape)]
        self.axes = Axes(order, stack)
        channels = ome.get('omero', {}).get('channels', [])
        self.bands = tuple(str(each.get('label', '')) for each in channels)


def _axes(image: Any) -> Axes | None:
    return image.axes if isinstance(image, Pyramid) else axes_of(image.shape)


def _as_image(item: Any) -> Any:
    """An array of numbers, or a pyramid; None of what is no image."""
    if hasattr(item, 'shape'):
        try:
            kept_dtype(item.dtype)
        except ValueError:
            return None
        return item
    # Version 0.5 has it all under a key of its own.
    ome = item.attrs.get('ome', item.attrs)
    return Pyramid(item, dict(ome)) if 'multiscales' in ome else None


def _image(root: Any, name: str) -> Any:
    if not name:
        return _as_image(root)
    return _as_image(root[name]) if not hasattr(root, 'shape') and name in root else None


def _images(item: Any, name: str = '') -> Iterator[tuple[str, Any]]:
    """Name -> image, of a group and those in it; what lies in a pyramid is that pyramid's."""
    image = _as_image(item)
    if image is not None:
        yield name, image
    elif not hasattr(item, 'shape'):
        for below, found in sorted([*item.arrays(), *item.groups()], key=lambda pair: pair[0]):
            yield from _images(found, f'{name}/{below}' if name else below)
