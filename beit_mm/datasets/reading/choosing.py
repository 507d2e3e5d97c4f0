"""Which bands of an image are taken, and how their depth becomes [0, 255]."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .broken_image import BrokenImage, name_of
from .image_file import ALPHA, COLORS, Box, ImageFile
from .opening import open_image

# Of `value_range`: what a run measures on its own images before it begins.
TO_MEASURE = ('measured', 'percentile')
BY_DTYPE = 'dtype'
# Of a part with more pixels, tiles of such an edge are read and reduced one by one; and by how much
# a format may do so itself.
MOST_AT_ONCE, TILE, MOST_REDUCED = 2**22, 2048, 8
# OpenCV takes so many bands in all that it does; some of it takes more, but no two versions alike.
BANDS_OF_CV = 4
# What is said of images that are changed in meaning.
TO_8_BITS = 'reduced to 8 bits'
REPEATED = 'one band repeated'
DROPPED = 'bands left out'
NO_ALPHA, LAID_ON = 'transparency left out', 'transparency laid on a colour'
FILLED = 'pixels without a value set to 0'


class Reading:
    """How images are read: ``bands`` and ``value_range`` of a config, and what goes with them.

    Args:
        bands: Which to take, and in what order: names as the files have them, or '1', '2', ...
            counted; or how many, the first ones. None for red, green and blue: one band is
            repeated, others behind the third are left out.
        value_range: What becomes 0 and what 255: (low, high), or one such pair for each band;
            'dtype' for the smallest and the largest number of the pixels' type, of floating ones 0
            and 1; or pairs by type, ``dict(uint16=(0, 4095))``, of which bytes need none.
            'measured' and 'percentile' are measured when a run starts. None for 8 bits: of more
            bits the upper ones are taken, and there is no range of floating numbers.
        background: What transparent images are laid on, in [0, 255], a number or one for each
            band; None to leave their transparency out.
        no_data: The value of pixels without a measurement where files do not say. They become 0,
            and so do NaN and infinite numbers.

    Raises:
        ValueError: If a setting is none.
    """

    def __init__(
        self,
        bands: int | Sequence[str] | None = None,
        value_range: Any = None,
        background: float | Sequence[float] | None = None,
        no_data: float | None = None,
    ) -> None:
        self.bands = _checked_bands(bands)
        self.value_range = _checked_range(value_range)
        self.background, self.no_data = background, no_data
        if isinstance(background, Sequence) and len(background) not in (1, self.num_bands):
            raise ValueError(
                f'background has {len(background)} numbers; it must be one, or {self.num_bands}, '
                'one for each band'
            )

    @property
    def num_bands(self) -> int:
        """Of what is read."""
        if self.bands is None:
            return len(COLORS)
        return self.bands if isinstance(self.bands, int) else len(self.bands)

    @property
    def names(self) -> tuple[str, ...] | None:
        """Of what is read, if they are known."""
        return None if isinstance(self.bands, int) else self.bands or COLORS

    @property
    def is_plain(self) -> bool:
        """Whether the defaults hold: photos of 8 bits stay as they are, red, green and blue."""
        return not self.settings

    @property
    def keeps_jpeg(self) -> bool:
        """Whether what is read of a JPEG file in colours is what its decoder gives."""
        return self.bands in (None, 3, COLORS) and self.value_range is None and self.no_data is None

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that are not None."""
        every = dict(
            bands=self.bands,
            value_range=self.value_range,
            background=self.background,
            no_data=self.no_data,
        )
        return {name: value for name, value in every.items() if value is not None}

    def open(self, source: str | Path | bytes, frame: str | None = None) -> 'Chosen':
        """Open an image; see :func:`beit_mm.datasets.reading.opening.open_image`.

        Raises:
            FileNotFoundError: If there is no such file.
            BrokenImage: If it is no image, or lacks a band.
        """
        image = open_image(source, frame)
        try:
            return Chosen(image, self, name_of(source))
        except ValueError as error:
            image.close()
            raise BrokenImage(source, str(error)) from error

    def scale(self, pixels: np.ndarray) -> np.ndarray:
        """Bring pixels into [0, 255], clipped.

        Args:
            pixels: (H, W, bands) of any type of real numbers.

        Returns:
            Of that shape: uint8 where ``value_range`` is None, else float32. Of NaN, NaN.

        Raises:
            ValueError: If there is no range for floating numbers, or for so many bands.
        """
        kind = pixels.dtype
        if self.value_range is None and kind == np.uint8:
            return pixels
        low, high = self._range_of(kind, pixels.shape[2])
        if self.value_range is None:
            # 256 steps of equal width, as dropping the lower bits makes them.
            steps = (pixels.astype(np.float64) - low) * (256 / (high - low + 1))
            return np.clip(steps, 0, 255).astype(np.uint8)
        if kind.itemsize > 2 and kind != np.float32:
            # Beyond 2^24 float32 has no room for steps of 1. Of halves, no difference is too large.
            low, high = np.asarray(low) / 2, np.asarray(high) / 2
            halves = np.clip(pixels / 2, low, high)
            return ((halves - low) / (high - low) * 255).astype(np.float32)
        scaled = (pixels.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
        return np.clip(scaled, 0, 255, out=scaled)

    def _range_of(self, kind: np.dtype, count: int) -> tuple[Any, Any]:
        """Low and high of a type of pixels: numbers, or (bands,) float64."""
        found = self.value_range
        if isinstance(found, Mapping):
            if kind.name not in found and kind != np.uint8:
                raise ValueError(
                    f'its pixels are {kind}, and value_range has ranges of '
                    f'{", ".join(sorted(found))} alone'
                )
            found = found.get(kind.name)
        if found is None or found == BY_DTYPE:
            if kind.kind in 'iu':
                info = np.iinfo(kind)
                return info.min, info.max
            if self.value_range is None:
                raise ValueError(
                    f'its pixels are {kind} numbers of no known range; set value_range, such as '
                    "'measured'"
                )
            return 0.0, 1.0
        if found in TO_MEASURE:
            raise ValueError(
                f'value_range is {found!r}, which tools/train.py and beit-mm measure before they '
                'begin; where neither does, give (low, high), as beit-mm check proposes it'
            )
        if isinstance(found[0], tuple):
            if len(found) != count:
                raise ValueError(
                    f'value_range has {len(found)} pairs, and {count} bands are read; there must '
                    'be one pair, or one for each band'
                )
            low, high = np.array(found, np.float64).T
            return low, high
        return found

    def __repr__(self) -> str:
        return ', '.join(f'{name}={value!r}' for name, value in self.settings.items())


class Chosen:
    """An open image through a :class:`Reading`.

    Args:
        image: Open.
        reading: How it is read.
        name: Of it, for messages.

    Attributes:
        size: (height, width).
        bands: Names of those that are taken.
        changes: What is changed in meaning, a kind each, complete when the image has been read.

    Raises:
        ValueError: If the image lacks a band.
    """

    def __init__(self, image: ImageFile, reading: Reading, name: str = 'the image') -> None:
        self.image, self.reading, self.name = image, reading, name
        self.size = image.size
        self.changes = list(image.changes)
        self.places = _places(image.bands, reading.bands, self.changes)
        self.bands = tuple(image.bands[place] for place in self.places)

    def read(self, box: Box | None = None, factor: int = 1) -> np.ndarray:
        """Read a part.

        Args:
            box: Inside the image; None for all of it.
            factor: A power of two by which height and width of large parts are reduced: tile by
                tile, so that memory does not grow with the part. Of small ones it is what
                :meth:`ImageFile.read` makes of it.

        Returns:
            (h, w, bands) in [0, 255], contiguous: uint8 where ``value_range`` is None, else
            float32.

        Raises:
            BrokenImage: If it cannot be decoded.
        """
        part = Box(0, 0, *self.size) if box is None else box
        try:
            if factor > 1 and part.height * part.width > MOST_AT_ONCE:
                return self._read_by_tiles(part, factor)
            return self._read(box, min(factor, MOST_REDUCED))
        # Damaged files make libraries raise errors of a dozen kinds.
        except Exception as error:
            raise BrokenImage.by(self.name, error) from error

    def _read_by_tiles(self, box: Box, factor: int) -> np.ndarray:
        """The mean of each ``factor`` x ``factor`` pixels, of a few tiles at a time."""
        height, width = (max(1, round(edge / factor)) for edge in (box.height, box.width))
        found = None
        edge = TILE * max(1, factor // MOST_REDUCED)
        for top in range(0, box.height, edge):
            for left in range(0, box.width, edge):
                # What is left at the end belongs to the last row and column.
                last_row, last_column = top + edge >= box.height, left + edge >= box.width
                rows = (height if last_row else (top + edge) // factor) - top // factor
                columns = (width if last_column else (left + edge) // factor) - left // factor
                if rows < 1 or columns < 1:
                    continue
                h, w = min(edge, box.height - top), min(edge, box.width - left)
                tile = self._read(
                    Box(box.top + top, box.left + left, h, w), min(factor, MOST_REDUCED)
                )
                if found is None:
                    found = np.empty((height, width, len(self.places)), tile.dtype)
                row, column = top // factor, left // factor
                place, size = found[row : row + rows, column : column + columns], (columns, rows)
                for band in range(0, len(self.places), BANDS_OF_CV):
                    some = slice(band, band + BANDS_OF_CV)
                    small = cv2.resize(tile[..., some], size, interpolation=cv2.INTER_AREA)
                    place[..., some] = small.reshape(rows, columns, -1)
        assert found is not None
        return found

    def read_unscaled(self, box: Box | None = None) -> tuple[np.ndarray, np.ndarray | None]:
        """The bands at their own depth, (h, w, bands), and where they hold no value, if anywhere.

        Raises:
            Exception: Of any kind, if the image is damaged.
        """
        kept = self._taken(self.image.read(box))
        return kept, self._without_value(kept)

    def _taken(self, pixels: np.ndarray) -> np.ndarray:
        every = self.places == tuple(range(pixels.shape[2]))
        return pixels if every else pixels[..., self.places]

    def _read(self, box: Box | None, factor: int) -> np.ndarray:
        pixels = self.image.read(box, factor)
        kept = self._taken(pixels)
        void = self._without_value(kept)
        scaled = self.reading.scale(kept)
        if self.reading.value_range is None and kept.dtype != np.uint8:
            self._say(TO_8_BITS)
        if void is not None:
            scaled = np.where(void, scaled.dtype.type(0), scaled)
            self._say(FILLED)
        if self.image.bands[-1] == ALPHA and len(self.image.bands) - 1 not in self.places:
            scaled = self._laid(scaled, pixels[..., -1:])
        return np.ascontiguousarray(scaled)

    def _without_value(self, pixels: np.ndarray) -> np.ndarray | None:
        """Where pixels hold no measurement, (h, w, bands) bool; None if all do."""
        void = None
        if pixels.dtype.kind == 'f':
            void = ~np.isfinite(pixels)
        value = self.image.no_data if self.image.no_data is not None else self.reading.no_data
        if value is not None and not np.isnan(value):
            same = pixels == value
            void = same if void is None else void | same
        return void if void is not None and void.any() else None

    def _laid(self, pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """Pixels over the background, as far as they are transparent."""
        full = np.iinfo(alpha.dtype).max if alpha.dtype.kind in 'iu' else 1
        if (alpha == full).all():
            return pixels
        if self.reading.background is None:
            self._say(NO_ALPHA)
            return pixels
        self._say(LAID_ON)
        share = alpha.astype(np.float32) / full
        behind = np.asarray(self.reading.background, np.float32)
        laid = pixels * share + behind * (1 - share)
        return laid if pixels.dtype != np.uint8 else np.rint(laid).astype(np.uint8)

    def _say(self, change: str) -> None:
        if change not in self.changes:
            self.changes.append(change)

    def close(self) -> None:
        """Let go of the file."""
        self.image.close()

    def __enter__(self) -> 'Chosen':
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def _places(
    there: tuple[str, ...], wanted: int | tuple[str, ...] | None, changes: list[str]
) -> tuple[int, ...]:
    """Where in an image the bands are that are wanted; what is changed in meaning is added."""
    visible = len(there) - (there[-1] == ALPHA)
    if wanted is None or wanted == COLORS:
        if set(COLORS) <= set(there):
            places = tuple(there.index(name) for name in COLORS)
        elif visible == 1:
            # A grey photo is one in colours: nothing is lost or made up.
            return (0, 0, 0)
        elif wanted is None and visible >= len(COLORS):
            places = (0, 1, 2)
        else:
            raise ValueError(f'it has the bands {", ".join(there)}, and no red, green and blue')
        if wanted is None and visible > len(COLORS):
            changes.append(DROPPED)
        return places
    if isinstance(wanted, int):
        if visible < wanted and not (visible == 1 or wanted == len(there)):
            raise ValueError(f'it has {visible} bands, and {wanted} are wanted')
        if visible == 1 and wanted > 1 and len(there) < wanted:
            changes.append(REPEATED)
            return (0,) * wanted
        if visible > wanted:
            changes.append(DROPPED)
        return tuple(range(wanted))
    # Who names some has chosen: what is left out is no surprise.
    return tuple(_place(name, there) for name in wanted)


def _place(name: str, there: tuple[str, ...]) -> int:
    if name in there:
        return there.index(name)
    if name.isdigit() and 1 <= int(name) <= len(there):
        return int(name) - 1
    raise ValueError(f'it has the bands {", ".join(there)}, and no {name!r}')


def _checked_bands(bands: Any) -> int | tuple[str, ...] | None:
    if bands is None:
        return None
    if isinstance(bands, int) and not isinstance(bands, bool) and bands >= 1:
        return bands
    if isinstance(bands, Sequence) and bands and not isinstance(bands, str):
        names = tuple(map(str, bands))
        if len(set(names)) == len(names):
            return names
    raise ValueError(
        f'bands is {bands!r}; it must be a number from 1, or a list of different names, such as '
        "['red', 'green', 'nir'] or ['4', '3', '2']"
    )


def _checked_range(value_range: Any) -> Any:
    """The setting as tuples."""
    if value_range is None or value_range in (*TO_MEASURE, BY_DTYPE):
        return value_range
    if isinstance(value_range, Mapping):
        return {np.dtype(kind).name: _checked_range(one) for kind, one in value_range.items()}
    given = value_range if isinstance(value_range, Sequence) else ()
    if len(given) and all(isinstance(one, Sequence) and len(one) == 2 for one in given):
        return tuple(_checked_range(one) for one in given)
    numbers = all(isinstance(one, (int, float)) for one in given)
    if len(given) != 2 or not numbers or not given[0] < given[1]:
        raise ValueError(
            f'value_range is {value_range!r}; it must be (low, high) with low < high, one such '
            f'pair for each band, {", ".join(map(repr, (BY_DTYPE, *TO_MEASURE)))}, or pairs by '
            'type, such as dict(uint16=(0, 4095))'
        )
    return float(given[0]), float(given[1])
