"""Photos of more than 8 bits a color, which Pillow would reduce: PNG, AVIF and PNM."""

import importlib.util
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from . import by_pillow
from .depths import keep
from .image_file import ALPHA, COLORS, GREY, ImageFile, Whole
from .known_formats import load_plugins
from .limits import refuse_cut_off
from .sliced import number_of
from .turned import turned

ORIENTATION = 0x0112
# PNG's third edition, 11.2.1: color types that are no grey alone and no palette.
PNG_COLORS = (2, 4, 6)
# Of AV1 Image File Format's property av1C: flags of 10 and 12 bits in its third byte.
AV1C, AV1C_DEEP = b'av1C', 0x60
# Where a header is looked for.
BEGINNING = 4096
NAMES = {1: GREY, 2: (*GREY, ALPHA), 3: COLORS, 4: (*COLORS, ALPHA)}
PNM = re.compile(rb'P([56])' + rb'(?:\s+(?:#[^\n]*\n\s*)*)(\d+)' * 3 + rb'\s')


def open_file(source: Path | bytes, frame: str | None) -> ImageFile:
    """See :class:`beit_mm.datasets.reading.opening.Reader`; what has 8 bits goes to Pillow.

    Without imagecodecs the upper 8 bits, and the image says so.
    """
    if isinstance(source, bytes):
        head = source[:BEGINNING]
    else:
        with source.open('rb', buffering=0) as file:
            head = file.read(BEGINNING)
    pnm = _deep_pnm(head)
    if pnm is None and (not _is_deep(head) or frame not in (None, '0')):
        return by_pillow.open_file(source, frame)
    number_of(frame or '0', 1)
    content = source if isinstance(source, bytes) else source.read_bytes()
    if pnm is not None:
        return _read_pnm(content, pnm)
    if not importlib.util.find_spec('imagecodecs'):
        image = by_pillow.open_file(content, None)
        image.changes = (*image.changes, by_pillow.REDUCED)
        return image
    return _read_deep(content)


def list_frames(source: Path | bytes) -> list[str]:
    """No stacks."""
    return []


def _is_deep(head: bytes) -> bool:
    if head[12:16] == b'IHDR':
        return head[24] == 16 and head[25] in PNG_COLORS
    place = head.find(AV1C)
    return place > 0 and bool(head[place + 6 : place + 7]) and bool(head[place + 6] & AV1C_DEEP)


def _read_deep(content: bytes) -> ImageFile:
    import imagecodecs

    load_plugins()
    # Pillow refuses sizes that are too large, and knows how the image is turned.
    with Image.open(io.BytesIO(content)) as image:
        orientation = image.getexif().get(ORIENTATION, 1)
        several = getattr(image, 'n_frames', 1) > 1
        is_png = image.format == 'PNG'
    if is_png:
        pixels = imagecodecs.png_decode(content)
    else:
        pixels = imagecodecs.avif_decode(content, index=0)
    bands = pixels.shape[2] if pixels.ndim == 3 else 1
    changes = (by_pillow.FIRST_TAKEN,) if several else ()
    return turned(Whole(keep(pixels), NAMES[bands], changes=changes), orientation)


def _deep_pnm(head: bytes) -> re.Match[bytes] | None:
    found = PNM.match(head)
    return found if found and 255 < int(found[4]) < 2**16 else None


def _read_pnm(content: bytes, header: re.Match[bytes]) -> ImageFile:
    """Two bytes a number, the larger first; Pillow would stretch them to 16 bits or take 8."""
    width, height = int(header[2]), int(header[3])
    bands = COLORS if header[1] == b'6' else GREY
    count = width * height * len(bands)
    refuse_cut_off(2 * count, len(content) - header.end(), 'image')
    pixels = np.frombuffer(content, '>u2', count, header.end())
    return Whole(keep(pixels.reshape(height, width, len(bands))), bands)
