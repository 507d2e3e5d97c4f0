"""Masks as people have them: numbers in pixels, palettes, colours, arrays."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageFile

from .reading.broken_image import BrokenImage
from .reading.by_pillow import turned
from .reading.opening import open_image, split_frame

# Labels are below it: they are kept in 16 bits at most.
MOST_LABELS = 2**16
# Grey levels that a file keeps in 2 and 4 bits, and by what Pillow has multiplied them.
PACKED = {
    f'L;{bits}{turned}': times
    for bits, times in ((2, 85), (4, 17))
    for turned in ('', 'I', 'R', 'IR')
}
# The tag of a TIFF that says what 0 is shown as: 0 where it is white.
SHOWN_AS = 262
# Pillow's modes whose pixels are one number each.
NUMBERS = ('1', 'L', 'LA', 'P', 'PA', 'I', 'F')


def read_labels(path: str | Path) -> np.ndarray:
    """The numbers in a mask.

    Of a palette the index, of grey the level as the file keeps it, whatever its depth; what is
    transparent is 0. An array (.npy) as it is. Of a stack the image that is named, as in
    ``scan.nii.gz#40``.

    Returns:
        (H, W) of bool, whole or floating point numbers; (H, W, 3) uint8 where the file has colours.

    Raises:
        FileNotFoundError: If there is no such file.
        BrokenImage: If it cannot be read, or has neither one channel nor colours.
    """
    if Path(path).suffix.lower() == '.npy':
        return _shaped(path, _array(path))
    with _opened(path) as (image, packed):
        if image is not None:
            return _numbers(image) // packed if packed > 1 else _numbers(image)
    with open_image(path) as other:
        try:
            pixels = other.read()
        except Exception as error:
            raise BrokenImage.by(path, error) from error
        return _shaped(path, pixels)


def _numbers(image: Image.Image) -> np.ndarray:
    if image.mode not in NUMBERS and not image.mode.startswith('I;'):
        return _opaque(image)
    pixels = np.asarray(turned(image))
    if image.mode in ('1', 'L') and getattr(image, 'tag_v2', {}).get(SHOWN_AS) == 0:
        # A file whose 0 is to be shown white, as ImageJ writes masks; Pillow turns it over.
        return ~pixels
    if image.mode in ('LA', 'PA'):
        return np.where(pixels[..., 1] > 0, pixels[..., 0], 0)
    return pixels


def read_colors(path: str | Path) -> np.ndarray:
    """The colours in a mask, those of its palette too, (H, W, 3) uint8; transparent is black.

    Raises:
        FileNotFoundError: If there is no such file.
        BrokenImage: If it cannot be read, or has no colours of 8 bits.
    """
    with _opened(path) as (image, _):
        if image is not None and image.mode in ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA'):
            return _opaque(image)
    labels = read_labels(path)
    if labels.ndim == 3:
        return labels
    raise BrokenImage(path, 'it has numbers in place of colours')


def read_palette(path: str | Path) -> dict[int, str]:
    """Index -> colour, such as '#ff0000', of the palette of a mask; empty where it has none."""
    with _opened(path) as (image, _):
        if image is None or image.mode not in ('P', 'PA'):
            return {}
        colors = np.array(image.convert('P').getpalette('RGB') or [], np.uint8).reshape(-1, 3)
    return {index: as_hex(packed) for index, packed in enumerate(pack(colors).tolist())}


@contextmanager
def _opened(path: str | Path) -> Iterator[tuple[Image.Image | None, int]]:
    """Pillow's image of a file and what its grey levels are multiplied by; None if it is none."""
    if split_frame(str(path))[1] is not None:
        yield None, 1
        return
    try:
        image = Image.open(path)
    except FileNotFoundError:
        raise
    except Exception:
        yield None, 1
        return
    with image:
        packed = PACKED.get(_raw_mode(image), 1)
        try:
            image.load()
        # Damaged files make Pillow raise errors of a dozen kinds.
        except Exception as error:
            raise BrokenImage.by(path, error) from error
        yield image, packed


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """How the pixels lie in the file; '' where that is not told."""
    told = image.tile[0][3] if image.tile else ''
    # Of TIFF with more that is about the file.
    return str(told[0] if isinstance(told, tuple) else told)


def _array(path: str | Path) -> np.ndarray:
    try:
        return np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise
    # Damaged headers make NumPy raise errors of a dozen kinds.
    except Exception as error:
        raise BrokenImage.by(path, error) from error


def _shaped(path: str | Path, pixels: np.ndarray) -> np.ndarray:
    if pixels.ndim == 3 and 1 in (pixels.shape[0], pixels.shape[2]):
        pixels = pixels[0] if pixels.shape[0] == 1 else pixels[..., 0]
    if pixels.dtype.kind not in 'buif':
        raise BrokenImage(path, f'it holds {pixels.dtype}, which is no number of a class')
    colored = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8
    if pixels.ndim != 2 and not colored:
        raise BrokenImage(path, f'its shape is {pixels.shape}; a mask has one number in each pixel')
    return pixels


def _opaque(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8; black where it is transparent."""
    image = turned(image)
    if image.mode in ('RGBA', 'LA', 'PA') or 'transparency' in image.info:
        pixels = np.asarray(image.convert('RGBA'))
        return pixels[..., :3] * (pixels[..., 3:] > 0)
    return np.asarray(image.convert('RGB'))


def same_in_all(colors: np.ndarray) -> bool:
    """Whether an image (H, W, 3) is grey: numbers saved as colours."""
    return bool((colors == colors[..., :1]).all())


def pack(colors: np.ndarray) -> np.ndarray:
    """Colours (..., 3) uint8 as one number each, (...) int32."""
    red, green, blue = np.moveaxis(colors.astype(np.int32), -1, 0)
    return red << 16 | green << 8 | blue


def as_hex(packed: int) -> str:
    """A colour as '#rrggbb'.

    >>> as_hex(0xff8000)
    '#ff8000'
    """
    return f'#{packed:06x}'


def as_whole(labels: np.ndarray, path: str | Path) -> np.ndarray:
    """Labels as int64, whatever kind of number they are; NaN becomes -1.

    Raises:
        ValueError: If one is no whole number.
    """
    if labels.dtype.kind in 'bui':
        return labels.astype(np.int64)
    known = np.nan_to_num(labels, nan=-1)
    whole = known.astype(np.int64)
    if (whole != known).any():
        wrong = known[whole != known].flat[0]
        raise ValueError(f'{path} has the number {wrong}; a label is a whole number')
    return whole


def labels_of_colors(colors: np.ndarray, table: Mapping[str, int], path: str | Path) -> np.ndarray:
    """Labels of colours.

    Args:
        colors: (H, W, 3) uint8.
        table: Colour as '#rrggbb' -> label.
        path: For the message.

    Returns:
        (H, W) int64.

    Raises:
        ValueError: If a colour has no label.
    """
    known = np.array([int(color.lstrip('#'), 16) for color in table], np.int32)
    labels = np.array(list(table.values()), np.int64)
    order = np.argsort(known)
    packed = pack(colors)
    places = order[np.searchsorted(known, packed, sorter=order).clip(max=len(known) - 1)]
    strange = packed[known[places] != packed]
    if len(strange):
        found, counts = np.unique(strange, return_counts=True)
        raise ValueError(
            f'{path} has {len(strange)} pixels of colours that stand for no class, most of them '
            f'{as_hex(int(found[counts.argmax()]))}; known are {", ".join(list(table)[:8])}'
            f'{" ..." if len(table) > 8 else ""}'
        )
    return labels[places]


def renumber(labels: np.ndarray, label_map: Mapping[int, int]) -> np.ndarray:
    """Labels with other numbers.

    Args:
        labels: Of 8 or 16 bits, none below 0.
        label_map: Old -> new; others stay.

    Returns:
        Of 8 bits, or 16 where they do not suffice.
    """
    highest = int(labels.max(initial=0))
    table = np.arange(highest + 1, dtype=np.uint16)
    for old, new in label_map.items():
        if 0 <= old <= highest:
            table[old] = new
    return narrow(table[labels])


def resize_labels(labels: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Labels (H, W) at another height and width, each that of the nearest pixel."""
    return cv2.resize(labels, tuple(size[::-1]), interpolation=cv2.INTER_NEAREST_EXACT)


def narrow(labels: np.ndarray) -> np.ndarray:
    """Labels of 8 bits where these suffice, else of 16."""
    return labels.astype(np.uint8 if labels.max(initial=0) < 256 else np.uint16)
