"""Ways to store an image: told by the endings of files and by their first bytes."""

import contextlib
import functools
import importlib.util
import zlib
from typing import NamedTuple

from PIL import Image, features


class Format(NamedTuple):
    """A way to store an image.

    Attributes:
        endings: Of its files, in small letters. Pillow knows the first one if it can read them.
        package: What reads them.
        feature: Name of the library in Pillow that Pillow's endings do not tell of.
        modules: Names of what reads them instead of Pillow, as they are imported.
    """

    endings: tuple[str, ...]
    package: str = 'pillow'
    feature: str | None = None
    modules: tuple[str, ...] = ()


def _of_extra(endings: tuple[str, ...], modules: tuple[str, ...], extra: str) -> Format:
    """A format that an extra of this project reads."""
    package = f"{' and '.join(modules)} (pip install 'beit-mm[{extra}]')"
    return Format(endings, package, modules=modules)


# Name in what is told -> format. The one list of endings of this project.
FORMATS = {
    'jpg': Format(('jpg', 'jpeg', 'jpe', 'jfif')),
    'png': Format(('png',)),
    'webp': Format(('webp',), 'a pillow with WebP'),
    'gif': Format(('gif',)),
    'bmp': Format(('bmp',)),
    'pnm': Format(('ppm', 'pgm', 'pbm', 'pnm')),
    'tif': Format(('tif', 'tiff')),
    'jp2': Format(('jp2', 'j2k'), 'a pillow with OpenJPEG', 'jpg_2000'),
    'avif': Format(('avif',), 'pillow>=11.3 or pillow-avif-plugin'),
    'heic': Format(('heic', 'heif'), 'pillow-heif'),
    'psd': Format(('psd',)),
    # TIFF inside, with more images in it than Pillow sees.
    'slide': _of_extra(
        ('svs', 'ndpi', 'scn', 'bif', 'qptiff', 'lsm'), ('tifffile', 'imagecodecs'), 'images'
    ),
    'npy': Format(('npy',), 'numpy', modules=('numpy',)),
    'npz': Format(('npz',), 'numpy', modules=('numpy',)),
    'dcm': _of_extra(('dcm', 'dicom'), ('pydicom',), 'medical'),
    'nii': _of_extra(('nii', 'nii.gz'), ('nibabel',), 'medical'),
    'h5': _of_extra(('h5', 'hdf5', 'he5'), ('h5py',), 'science'),
    'zarr': _of_extra(('zarr',), ('zarr',), 'science'),
}
# Formats whose images are folders.
OF_FOLDERS = frozenset(('zarr',))
FORMAT_OF = {ending: name for name, kind in FORMATS.items() for ending in kind.endings}
# Of photos of 8 bits in colours or grey, whatever is in the file.
ENDINGS_OF_PHOTOS = tuple(
    f'.{ending}' for name in ('jpg', 'webp', 'gif', 'bmp') for ending in FORMATS[name].endings
)
# TIFF inside: what a camera saw before it was a photo, and what GDAL lays beside an image.
NO_IMAGES = frozenset(('cr2', 'nef', 'nrw', 'arw', 'dng', 'orf', 'pef', 'srw', 'ovr', 'msk'))
# Bytes of a file that tell what it is: NIfTI's magic number is at 344.
HEAD = 352


@functools.cache
def load_plugins() -> None:
    """Let Pillow read AVIF and HEIC where packages for them are installed.

    Pillow 11.3 and later may read AVIF by itself.
    """
    with contextlib.suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
    if 'avif' not in features.modules or not features.check('avif'):
        with contextlib.suppress(ImportError):
            import pillow_avif  # noqa: F401


@functools.cache
def readable_formats() -> frozenset[str]:
    """Names of the formats that can be read here."""
    load_plugins()
    # Pillow asks its formats in the order of their import: photos' own before those that try all.
    Image.preinit()
    known = Image.registered_extensions()
    return frozenset(
        name
        for name, kind in FORMATS.items()
        if (
            all(importlib.util.find_spec(module) for module in kind.modules)
            if kind.modules
            else f'.{kind.endings[0]}' in known
            and (not kind.feature or features.check(kind.feature))
        )
    )


def ending_of(name: str) -> str:
    """The ending of a file's name in small letters, of two parts where a format's has two.

    >>> ending_of('a.b.PNG'), ending_of('head.nii.gz'), ending_of('README')
    ('png', 'nii.gz', '')
    """
    _, *parts = name.lower().split('.')
    two = '.'.join(parts[-2:])
    return two if two in FORMAT_OF else parts[-1] if parts else ''


def image_endings() -> tuple[str, ...]:
    """Endings of images that can be read here, such as '.jpg'."""
    return tuple(f'.{e}' for name in sorted(readable_formats()) for e in FORMATS[name].endings)


def format_of_bytes(head: bytes) -> str | None:
    """The format of a file that begins with these bytes, by its magic number.

    Sources: the formats' specifications, as https://en.wikipedia.org/wiki/List_of_file_signatures
    collects them; of DICOM PS3.10 7.1; of HEIF and AVIF the brands of ISO/IEC 23008-12 and of AV1
    Image File Format.
    """
    # Before TIFF's: what comes before it is free for programs that do not know DICOM.
    if head[128:132] == b'DICM':
        return 'dcm'
    for name, beginnings in MAGIC.items():
        if head.startswith(beginnings):
            return name
    if head[:4] == b'RIFF' and head[8:12] == b'WEBP':
        return 'webp'
    # Letters alone would take many a text for an image.
    if head[:2] == b'BM' and head[6:10] == bytes(4) and head[14:18] in BMP_HEADERS:
        return 'bmp'
    if head[:1] == b'P' and head[1:2] in b'123456' and head[2:3].isspace():
        return 'pnm'
    if head[4:8] == b'ftyp':
        end = min(int.from_bytes(head[:4], 'big'), len(head))
        brands = {head[begin : begin + 4] for begin in (8, *range(16, end, 4))}
        if brands & {b'avif', b'avis'}:
            return 'avif'
        if brands & {b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'mif1', b'msf1'}:
            return 'heic'
    return _format_of_numbers(head)


def _format_of_numbers(head: bytes) -> str | None:
    """A format of arrays or volumes.

    Sources: NumPy's NEP 1, PKWARE's APPNOTE 4.3.7, NIfTI-1.1 and NIfTI-2.
    """
    if head[344:348] in NIFTI_1 or head[4:8] in NIFTI_2:
        return 'nii'
    if head[:4] == b'PK\3\4':
        name = head[30 : 30 + int.from_bytes(head[26:28], 'little')]
        return 'npz' if name.endswith(b'.npy') else None
    if head[:2] == b'\x1f\x8b':
        with contextlib.suppress(zlib.error):
            # 16 more than the largest window: with the header of gzip.
            inside = zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(head, HEAD)
            return 'nii' if inside[344:348] in NIFTI_1 or inside[4:8] in NIFTI_2 else None
    return None


MAGIC: dict[str, bytes | tuple[bytes, ...]] = {
    'jpg': b'\xff\xd8\xff',
    'png': b'\x89PNG\r\n\x1a\n',
    'gif': (b'GIF87a', b'GIF89a'),
    'tif': (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'),
    'jp2': (b'\0\0\0\x0cjP  \r\n\x87\n', b'\xff\x4f\xff\x51'),
    'psd': b'8BPS\0\x01',
    'npy': b'\x93NUMPY',
    'h5': b'\x89HDF\r\n\x1a\n',
}
NIFTI_1, NIFTI_2 = (b'n+1\0', b'ni1\0'), (b'n+2\0', b'ni2\0')
# Lengths of the headers of all versions.
BMP_HEADERS = {size.to_bytes(4, 'little') for size in (12, 16, 40, 52, 56, 64, 108, 124)}
