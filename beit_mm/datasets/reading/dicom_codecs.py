"""What DICOM's compressed pixels are decoded by: imagecodecs as a plugin of pydicom's, or Pillow.

GDCM, which pydicom would take where it is installed, ends the process on damaged pixels.
"""

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

# DICOM PS3.5, A.4: transfer syntaxes, and imagecodecs' name of what decodes them.
EXTENDED = '1.2.840.10008.1.2.4.51'
CODECS = {
    EXTENDED: 'jpeg',
    '1.2.840.10008.1.2.4.57': 'jpegsof3',
    '1.2.840.10008.1.2.4.70': 'jpegsof3',
    '1.2.840.10008.1.2.4.80': 'jpegls',
    '1.2.840.10008.1.2.4.81': 'jpegls',
}
# pydicom asks for this name: what each of them takes.
DECODER_DEPENDENCIES = dict.fromkeys(CODECS, ('imagecodecs',))
# Markers that begin a frame: JPEG's, but for tables, and JPEG-LS's.
START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
END_OF_IMAGE = b'\xff\xd9'
OURS = 'imagecodecs'
OTHERS = ('pillow', 'pydicom', 'pyjpegls', 'pylibjpeg')


def is_available(uid: str) -> bool:
    """Whether a transfer syntax can be decoded here; pydicom asks for this name."""
    return uid in CODECS and importlib.util.find_spec('imagecodecs') is not None


def decode_frame(content: bytes, runner: Any) -> bytes:
    """Decode a frame: what pydicom asks of a plugin.

    Raises:
        ValueError: If it is not of the size that the file says.
    """
    import imagecodecs

    decode: Callable[..., np.ndarray] = getattr(
        imagecodecs, f'{CODECS[runner.transfer_syntax]}_decode'
    )
    if claimed_size(content) != (runner.rows, runner.columns):
        raise ValueError(
            f'its frame is {claimed_size(content)}, and the file says '
            f'{(runner.rows, runner.columns)}'
        )
    # A decoder may search for seconds for what is cut off. A frame may be filled up with a zero.
    if not content.rstrip(b'\0').endswith(END_OF_IMAGE):
        raise ValueError('its frame is cut off')
    pixels = decode(content)
    runner.set_option('bits_allocated', 8 * pixels.dtype.itemsize)
    if pixels.ndim == 3:
        runner.set_option('planar_configuration', 0)
    return pixels.tobytes()


def claimed_size(content: bytes) -> tuple[int, int] | None:
    """(height, width) that a frame of JPEG's or JPEG-LS's claims before it is decoded.

    Source: ITU-T T.81, B.1.1 and B.2.2.
    """
    place = 2
    while content[place : place + 1] == b'\xff' and len(content) > place + 9:
        marker = content[place + 1]
        if marker in START_OF_FRAME:
            height, width = content[place + 5 : place + 7], content[place + 7 : place + 9]
            return int.from_bytes(height, 'big'), int.from_bytes(width, 'big')
        place += 2 + int.from_bytes(content[place + 2 : place + 4], 'big')
    return None


def choose_plugin(uid: str, bits: int) -> str:
    """The plugin that decodes a transfer syntax; '' of what is not compressed.

    Args:
        uid: The transfer syntax.
        bits: Those that are stored of a number.

    Raises:
        ValueError: If none can.
    """
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    if not UID(uid).is_encapsulated:
        return ''
    decoder = get_decoder(uid)
    if is_available(uid) and OURS not in decoder.available_plugins:
        decoder.add_plugin(OURS, (__name__, decode_frame.__name__))
    there = decoder.available_plugins
    # Pillow has 8 bits of JPEG, and turns their colours.
    first = (OURS, *OTHERS) if uid != EXTENDED or bits > 8 else (*OTHERS, OURS)
    for name in first:
        if name in there:
            return name
    raise ValueError(
        f'nothing here decodes its {UID(uid).name}; imagecodecs decodes most of DICOM '
        "(pip install 'beit-mm[medical]')"
    )
