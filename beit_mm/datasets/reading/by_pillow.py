"""What Pillow reads: photos of 8 bits, and some of one band at greater depth."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from .image_file import ALPHA, COLORS, GREY, Box, ImageFile, Whole
from .known_formats import load_plugins

FIRST_TAKEN = 'the first of several images in a file taken'
REDUCED = 'more than 8 bits a colour read as 8'
FROM_INKS = 'CMYK turned into RGB'
LEFT_OUT = 'bands left out'
# Tags of TIFF 6.0.
TIFF_BITS, TIFF_SAMPLES = 258, 277
# Pillow's mode -> the mode that its pixels are handed on in, and their bands.
MODES = {
    '1': ('L', GREY),
    'L': ('L', GREY),
    'LA': ('LA', (*GREY, ALPHA)),
    'La': ('LA', (*GREY, ALPHA)),
    'RGB': ('RGB', COLORS),
    'RGBA': ('RGBA', (*COLORS, ALPHA)),
    'PA': ('RGBA', (*COLORS, ALPHA)),
    'F': ('F', GREY),
    'I': ('I', GREY),
}


def open_file(source: Path | bytes, frame: str | None) -> ImageFile:
    """See :class:`beit_mm.datasets.reading.opening.Reader`; turned as the EXIF tag says."""
    load_plugins()
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        changes: tuple[str, ...] = ()
        kind = image.format
        if frame is not None:
            image.seek(int(frame))
        elif getattr(image, 'n_frames', 1) > 1:
            changes = (FIRST_TAKEN,)
        image.load()
        if _is_reduced(image):
            changes = (*changes, REDUCED)
        if getattr(image, 'tag_v2', {}).get(TIFF_SAMPLES, 1) > len(image.getbands()):
            changes = (*changes, LEFT_OUT)
        return as_file(turned(image), changes, kind)


class Picture(ImageFile):
    """An image of Pillow's, of which pixels are copied when they are asked for.

    Args:
        image: Of a mode that :data:`MODES` hand on.
        bands, changes: See :class:`ImageFile`.
    """

    def __init__(
        self, image: Image.Image, bands: tuple[str, ...], changes: tuple[str, ...] = ()
    ) -> None:
        self.image, self.bands, self.changes = image, bands, changes
        self.size = image.size[::-1]
        self.dtype = np.dtype(dict(F=np.float32, I=np.int32).get(image.mode, np.uint8))

    def read(self, box: Box | None = None, factor: int = 1) -> np.ndarray:
        """Cut a part out; nothing is reduced."""
        image = self.image
        if box is not None:
            top, left, height, width = box
            image = image.crop((left, top, left + width, top + height))
        return np.asarray(image).reshape(image.height, image.width, len(self.bands))


def as_file(
    image: Image.Image, changes: tuple[str, ...] = (), kind: str | None = None
) -> ImageFile:
    """An image of Pillow's with its bands.

    Args:
        image: Of any mode.
        changes: See :class:`ImageFile`.
        kind: Pillow's name of the format that it comes from.
    """
    if image.mode == 'CMYK':
        changes = (*changes, FROM_INKS)
    see_through = image.info.get('transparency')
    if image.mode == 'P':
        image = image.convert('RGB' if see_through is None else 'RGBA')
    elif image.mode in ('1', 'L', 'RGB') and see_through is not None:
        # One colour of all, by PNG's chunk tRNS.
        image = image.convert('RGBA' if image.mode == 'RGB' else 'LA')
    # Pillow holds 16 bits in 32 for some formats and releases.
    if image.mode.startswith('I;16') or (image.mode == 'I' and kind in ('PNG', 'PPM')):
        return Whole(np.asarray(image).astype(np.uint16), GREY, changes=changes)
    mode, bands = MODES.get(image.mode, ('RGB', COLORS))
    # Pillow copies what it converts, into its own mode too.
    return Picture(image if image.mode == mode else image.convert(mode), bands, changes)


def _is_reduced(image: Image.Image) -> bool:
    """Whether Pillow has read 8 bits of more."""
    if image.mode.startswith(('I', 'F')):
        return False
    bits = getattr(image, 'tag_v2', {}).get(TIFF_BITS, image.info.get('bit_depth', 8))
    return max(bits) > 8 if isinstance(bits, tuple) else bits > 8


def list_frames(source: Path | bytes) -> list[str]:
    """No stacks: an animation stands for its first image."""
    return []


def turned(image: Image.Image) -> Image.Image:
    """As its EXIF tag says."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        # The pixels are whole; what is damaged is the note beside them.
        return image
