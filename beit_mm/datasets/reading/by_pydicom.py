"""DICOM: what a scanner measured, at full depth and in its unit."""

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .depths import keep
from .dicom_codecs import choose_plugin
from .image_file import COLORS, GREY, ImageFile, Whole
from .limits import refuse_bomb, refuse_cut_off, refuse_list
from .sliced import FIRST_OF_STACK, number_of

# Numbers of 16 and 32 bits, and what the smallest and the largest of them are.
INTEGERS = [(name, np.iinfo(name)) for name in ('uint8', 'uint16', 'int16', 'int32')]


def open_file(source: Path | bytes, frame: str | None) -> ImageFile:
    """See :class:`beit_mm.datasets.reading.opening.Reader`; a frame is read whole.

    Numbers are in the file's unit, by its rescale slope and intercept: integers where the slope is
    1, else float32. Of MONOCHROME1 they are turned over, so that bright is much. A window for
    display is not applied.

    Source: DICOM PS3.3, C.7.6.3 and C.11.1.
    """
    from pydicom import pixels

    head, count = _head(source)
    number = 0 if frame is None else number_of(frame, count)
    refuse_bomb(head.Rows, head.Columns, head.SamplesPerPixel * head.BitsAllocated // 8 or 1)
    plugin = choose_plugin(head.file_meta.TransferSyntaxUID, head.BitsStored)
    stored = pixels.pixel_array(_stream(source), index=number, decoding_plugin=plugin)
    changes = (FIRST_OF_STACK,) if frame is None and count > 1 else ()
    kind = head.PhotometricInterpretation
    if kind == 'PALETTE COLOR':
        colors = pixels.apply_color_lut(stored, head)
        return Whole(keep(colors[..., :3]), COLORS, changes=changes)
    if stored.ndim == 3:
        return Whole(keep(stored), COLORS, changes=changes)
    if head.BitsAllocated == 1:
        return Whole(stored.astype(np.uint8) * np.uint8(255), GREY, changes=changes)
    unit = Unit.of(head, number, stored.dtype)
    padding = head.get('PixelPaddingValue')
    no_data = None if padding is None else float(unit.apply(np.array(padding, np.int64)))
    return Whole(keep(unit.apply(stored)), GREY, no_data, changes)


def list_frames(source: Path | bytes) -> list[str]:
    """The frames of a series by number."""
    _, count = _head(source)
    return [str(n) for n in range(count)] if count > 1 else []


def _stream(source: Path | bytes) -> Any:
    return io.BytesIO(source) if isinstance(source, bytes) else source


def _head(source: Path | bytes) -> tuple[Any, int]:
    """All that is said before the pixels, and the number of frames."""
    from pydicom import dcmread
    from pydicom.uid import ImplicitVRLittleEndian

    # Old files have no mark that they are DICOM.
    head = dcmread(_stream(source), stop_before_pixels=True, force=True)
    if not head.get('Rows') or not head.get('Columns'):
        raise ValueError('it is DICOM without an image, or none')
    if not head.file_meta.get('TransferSyntaxUID'):
        head.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    count = max(int(head.get('NumberOfFrames') or 1), 1)
    syntax = head.file_meta.TransferSyntaxUID
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    # An item of a compressed frame has a header of 8 bytes.
    bits = 64
    if not syntax.is_compressed and not syntax.is_deflated:
        bits = head.Rows * head.Columns * head.SamplesPerPixel * head.BitsAllocated
        # Of three colours two are stored.
        bits = bits * 2 // 3 if '422' in head.get('PhotometricInterpretation', '') else bits
    if not syntax.is_deflated:
        refuse_cut_off(count * bits // 8, size, 'pixels')
    refuse_list(count)
    return head, count


class Unit(NamedTuple):
    """From stored numbers to measured ones.

    Attributes:
        slope, intercept: Measured = slope x stored + intercept.
        ends: The smallest and the largest stored number.
        is_over: Whether large numbers are dark, and are turned over.
        kind: dtype of what comes out.
        table: A dataset with a table of this instead, or None.
    """

    slope: float
    intercept: float
    ends: tuple[int, int]
    is_over: bool
    kind: np.dtype
    table: Any = None

    @classmethod
    def of(cls, head: Any, number: int, stored: np.dtype) -> 'Unit':
        """What a file says of its frame's numbers."""
        said = _said_of_frame(head, number)
        slope = float(said.get('RescaleSlope', 1))
        intercept = float(said.get('RescaleIntercept', 0))
        half = 2 ** (head.BitsStored - 1)
        ends = (-half, half - 1) if head.PixelRepresentation else (0, 2 * half - 1)
        table = head if 'ModalityLUTSequence' in head else None
        kind = stored if slope == 1 and intercept == 0 else np.dtype('float32')
        if kind != stored and slope == 1 and intercept.is_integer():
            low, high = (end + intercept for end in ends)
            fitting = (name for name, info in INTEGERS if info.min <= low and high <= info.max)
            kind = np.dtype(next(fitting, 'float32'))
        is_over = head.PhotometricInterpretation == 'MONOCHROME1'
        return cls(slope, intercept, ends, is_over, kind, table)

    def apply(self, stored: np.ndarray) -> np.ndarray:
        """Bring stored numbers into the unit."""
        if self.table is not None:
            from pydicom.pixels import apply_modality_lut

            return apply_modality_lut(stored, self.table)
        if self.is_over and stored.dtype.kind in 'iu':
            stored = sum(self.ends) - stored.astype(np.int64)
        if (self.slope, self.intercept) != (1, 0):
            stored = stored * self.slope + self.intercept
        return stored.astype(self.kind)


def _said_of_frame(head: Any, number: int) -> Any:
    """Where slope and intercept stand: in the frame's own group, the shared one, or the file."""
    groups = [
        *head.get('PerFrameFunctionalGroupsSequence', [])[number : number + 1],
        *head.get('SharedFunctionalGroupsSequence', [])[:1],
    ]
    for group in groups:
        said = group.get('PixelValueTransformationSequence')
        if said:
            return said[0]
    return head
