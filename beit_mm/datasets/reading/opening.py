"""From a file of any format to an open image."""

import importlib
import io
from pathlib import Path
from typing import Any, Protocol

from PIL import ExifTags, Image

from .broken_image import BrokenImage
from .image_file import ALPHA, ImageFile, numbered
from .known_formats import (
    FORMAT_OF,
    FORMATS,
    HEAD,
    ending_of,
    format_of_bytes,
    readable_formats,
)

# What parts the name of a file from that of an image inside of it: 'scan.nii.gz#40'.
FRAME = '#'


class Reader(Protocol):
    """A module that reads formats."""

    def open_file(self, source: Path | bytes, frame: str | None) -> ImageFile:
        """Open an image.

        Args:
            source: A file, or what is in one.
            frame: Which of several images in it, a name of :meth:`list_frames`; None for the first.

        Raises:
            Exception: Of any kind, if there is none.
        """
        ...

    def list_frames(self, source: Path | bytes) -> list[str]:
        """Names of the images in a file that holds a stack of them, in order; else none."""
        ...


OF_PHOTOS, OF_DEEP_PHOTOS = 'by_pillow', 'by_imagecodecs'
# Pillow knows an image's size without its pixels.
WITH_HEADERS = (OF_PHOTOS, OF_DEEP_PHOTOS)
# Format -> module beside this one.
READERS = {
    **dict.fromkeys(FORMATS, OF_PHOTOS),
    **dict.fromkeys(('png', 'avif', 'pnm'), OF_DEEP_PHOTOS),
    **dict.fromkeys(('tif', 'slide'), 'by_tifffile'),
    'jp2': 'by_rasterio',
    **dict.fromkeys(('npy', 'npz'), 'by_numpy'),
    'dcm': 'by_pydicom',
    'nii': 'by_nibabel',
    'h5': 'by_h5py',
    'zarr': 'by_zarr',
}


def split_frame(name: str) -> tuple[str, str | None]:
    """The file, and which image in it, of a name such as 'stack.tif#3'.

    A file whose own name has a '#' is one where it is there.

    >>> split_frame('stack.tif#3')
    ('stack.tif', '3')
    """
    path, mark, frame = name.rpartition(FRAME)
    if not mark or Path(name).exists():
        return name, None
    return path, frame


def reader_of(source: Path | bytes) -> Any:
    """The :class:`Reader` of a file, by its first bytes or else by its ending.

    Raises:
        BrokenImage: If its format takes a package that is not installed.
    """
    if isinstance(source, bytes):
        head, ending = source[:HEAD], ''
    else:
        head, ending = b'', ending_of(source.name)
        if source.is_file():
            with source.open('rb', buffering=0) as file:
                head = file.read(HEAD)
    kind = format_of_bytes(head) or FORMAT_OF.get(ending, '')
    if kind and FORMATS[kind].modules and kind not in readable_formats():
        needed = f'.{FORMATS[kind].endings[0]} takes {FORMATS[kind].package}'
        raise BrokenImage(source, needed)
    return importlib.import_module(f'.{READERS.get(kind, OF_PHOTOS)}', __package__)


def size_of(source: Path | bytes) -> tuple[int, int]:
    """(height, width) of an image, of a photo by its header alone.

    Raises:
        FileNotFoundError: If there is no such file.
        BrokenImage: If it is no image that can be read here.
    """
    path, frame = ('', None) if isinstance(source, bytes) else split_frame(str(source))
    if frame is None and reader_of(source).__name__.endswith(WITH_HEADERS):
        try:
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else path) as image:
                # As its EXIF tag turns it.
                turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
                return image.size if turned else image.size[::-1]
        except Exception as error:
            raise BrokenImage.by(source, error) from error
    with open_image(source) as image:
        return image.size


def list_frames(source: Path) -> list[str]:
    """Names of the images in a file that holds a stack of them, in order; else none.

    Raises:
        FileNotFoundError: If there is no such file.
        BrokenImage: If it cannot be read here.
    """
    reader = reader_of(source)
    try:
        return reader.list_frames(source)
    # Damaged files make libraries raise errors of a dozen kinds.
    except Exception as error:
        raise BrokenImage.by(source, error) from error


def open_image(source: str | Path | bytes, frame: str | None = None) -> ImageFile:
    """Open an image of any format.

    Args:
        source: A file, with '#' and the name of one of its images if it holds several, or what is
            in a file.
        frame: Of what is in a file, which of its images.

    Raises:
        FileNotFoundError: If there is no such file.
        BrokenImage: If it is no image that can be read here.
    """
    if not isinstance(source, bytes):
        path, inside = split_frame(str(source))
        source, frame = Path(path), frame or inside
        # A folder has no size that says anything.
        size = source.stat().st_size or source.is_dir()
    else:
        size = len(source)
    if not size:
        raise BrokenImage(source, 'the file is empty')
    try:
        return _named(reader_of(source).open_file(source, frame))
    except BrokenImage:
        raise
    # Damaged files make libraries raise errors of a dozen kinds.
    except Exception as error:
        raise BrokenImage.by(source, error) from error


def _named(image: ImageFile) -> ImageFile:
    """The image with bands that can be told apart, whatever its file calls them.

    Raises:
        ValueError: If it has no pixel or no band.
    """
    if not all(image.size) or not image.bands:
        image.close()
        size = f'{image.size[0]} x {image.size[1]} with {len(image.bands)} bands'
        raise ValueError(f'it is {size}, which is no image')
    # What is alone is no transparency of something else.
    alike = len(set(image.bands)) < len(image.bands)
    if alike or not all(image.bands) or ALPHA in (image.bands[0], *image.bands[:-1]):
        image.bands = numbered(len(image.bands))
    return image
