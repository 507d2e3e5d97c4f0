"""Decode of a photo no more than a crop of it needs."""

import functools
import math
import re
from typing import NamedTuple

import cv2
import numpy as np
from mmengine.logging import print_log
from PIL import ExifTags, Image

from .reading.image_file import Box
from .reading.limits import most_pixels

try:
    import simplejpeg
except ImportError:
    simplejpeg = None
REDUCED = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
END_OF_IMAGE = b'\xff\xd9'
XMP = b'http://ns.adobe.com/xap/1.0/\0'
XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
# Rows below a crop that are decoded too: smoothing the color of the last row reads the next block.
MARGIN = 16


class JpegHeader(NamedTuple):
    """What the decoder needs to know before it starts: size, and where the file states it."""

    height: int
    width: int
    frame: int


def read_jpeg_header(data: bytes) -> JpegHeader | None:
    """Size of a JPEG file by its frame header (ITU-T T.81, B.2.2).

    Args:
        data: The file.

    Returns:
        None if the file is no JPEG, or one to be left to a whole decoder: neither one component
        nor three, samples of more than 8 bits, lossless or arithmetic coding, Exif or XMP data
        that asks for a rotation, no end, or other damage.
    """
    if data[:2] != b'\xff\xd8':
        return None
    place = 2
    while place + 10 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], 'big')
        if marker in (0xC0, 0xC1, 0xC2):
            bits, components = data[place + 4], data[place + 9]
            height = int.from_bytes(data[place + 5 : place + 7], 'big')
            width = int.from_bytes(data[place + 7 : place + 9], 'big')
            if bits != 8 or components not in (1, 3) or not (height and width):
                return None
            # A photo that was cut off would be decoded to its end, grey from there.
            if data.rfind(END_OF_IMAGE, place) < 0 or height * width > most_pixels():
                return None
            return JpegHeader(height, width, place)
        # Tables, comments and applications' data are all that comes before the frame.
        if length < 2 or not (marker in (0xC4, 0xDB, 0xDD, 0xFE) or 0xE0 <= marker <= 0xEF):
            return None
        if marker == 0xE1 and _is_turned(data[place + 4 : place + 2 + length]):
            return None
        place += 2 + length
    return None


def _is_turned(segment: bytes) -> bool:
    """Whether an application's segment asks for a rotation or a mirror image: Exif data, or XMP."""
    if segment.startswith(XMP):
        # Pillow follows it where Exif data says nothing.
        orientation = XMP_ORIENTATION.search(segment)
        return orientation is not None and orientation[1] != b'1'
    if not segment.startswith(b'Exif\0\0'):
        return False
    exif = Image.Exif()
    try:
        exif.load(segment)
        return exif.get(ExifTags.Base.Orientation, 1) != 1
    except Exception:
        # Pillow raises many kinds on damaged Exif data; then OpenCV decides.
        return True


@functools.cache
def _explain_missing_simplejpeg() -> None:
    print_log(
        'simplejpeg is not installed: photos are decoded whole, which takes longer', 'current'
    )


def reduction(box: Box, min_size: tuple[int, int]) -> int:
    """By how much to reduce a photo while it is decoded: 1, 2, 4 or 8.

    What is left of the box is no smaller than ``min_size``, (height, width).
    """
    most = min(box.height / min_size[0], box.width / min_size[1])
    return max((factor for factor in REDUCED if factor <= most), default=1)


def decode_crop(data: bytes, header: JpegHeader, box: Box, factor: int = 1) -> np.ndarray:
    """Decode the part of a JPEG file that lies in a box.

    Rows below the box are not decoded: the frame header is told that the photo ends there. With a
    factor the inverse cosine transform yields fewer pixels, and the box is moved to the nearest
    pixels of that size.

    Args:
        data: The file.
        header: Of :func:`read_jpeg_header`.
        box: The part, in pixels of the whole photo.
        factor: 1, 2, 4 or 8, by which height and width are reduced.

    Returns:
        (height / factor, width / factor, 3) uint8, RGB.

    Raises:
        ValueError: If the file is damaged.
    """
    rows = min(header.height, box.top + box.height + MARGIN * factor)
    if simplejpeg is None:
        _explain_missing_simplejpeg()
        image = cv2.imdecode(np.frombuffer(data, np.uint8), REDUCED[factor])
        if image is None:
            raise ValueError('it is no image that OpenCV can read')
    else:
        place = header.frame + 5
        short = data[:place] + rows.to_bytes(2, 'big') + data[place + 2 :]
        # Not strict: data after the last row that was asked for is no error.
        image = simplejpeg.decode_jpeg(
            short,
            colorspace='RGB',
            min_height=math.ceil(rows / factor),
            min_width=math.ceil(header.width / factor),
            strict=False,
        )
    top, left = round(box.top / factor), round(box.left / factor)
    height, width = max(1, round(box.height / factor)), max(1, round(box.width / factor))
    crop = image[top : top + height, left : left + width]
    return cv2.cvtColor(crop, cv2.COLOR_BGR2RGB) if simplejpeg is None else crop
