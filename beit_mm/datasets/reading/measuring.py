"""What values the pixels of images have: ranges that no hot pixel rules, means and spreads."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from .broken_image import BrokenImage, name_of
from .choosing import Chosen, Reading
from .image_file import ALPHA, Box
from .opening import open_image

# Of an image's pixels, how many may lie outside of its range at each end.
HOT = 1e-4
# Of the images, how many may reach beyond the range at each end.
ODD_IMAGES = 0.01
# What 'percentile' leaves out of all pixels at each end, as maps are stretched.
STRETCHED = 0.02
# Images that a run looks at before it begins; and those that tell whether it has to.
MOST_LOOKED_AT, MOST_ASKED = 256, 16
T = TypeVar('T')
# Of an image of more pixels windows are read: so many along each axis, of such an edge.
MOST_PIXELS, WINDOWS, WINDOW = 2**24, 4, 256
# Pixels of an image that means, spreads and percentiles are of.
SAMPLED = 4096
# Beyond it a step of the seventh digit may be none.
LARGEST = 1e308

Source = str | Path | bytes


class Looked(NamedTuple):
    """An image that was looked at.

    Attributes:
        size: (height, width).
        bands: Names of those in the file.
        dtype: Of the pixels.
        changes: What reading it changes in meaning.
        low, high: (taken bands,) float64, between which all pixels lie but one in 10,000 at each
            end.
        smallest, largest: (taken bands,) float64.
        sample: (n, taken bands), some of the pixels that have a value in each band.
        void: Number of pixels without one.
        digest: Of all pixels; None of an image of which windows were read.
    """

    size: tuple[int, int]
    bands: tuple[str, ...]
    dtype: np.dtype
    changes: tuple[str, ...]
    low: np.ndarray
    high: np.ndarray
    smallest: np.ndarray
    largest: np.ndarray
    sample: np.ndarray
    void: int
    digest: str | None


class Measured(NamedTuple):
    """What a set of images has in common.

    Attributes:
        value_range: Type of pixels -> (low, high) of each band.
        mean, std: Of each band, in [0, 255] behind these ranges.
    """

    value_range: dict[str, list[tuple[float, float]]]
    mean: list[float]
    std: list[float]


def look_at(
    source: Source,
    bands: int | Sequence[str] | None,
    no_data: float | None = None,
    sampled: int = SAMPLED,
) -> Looked:
    """Read an image, and count its values.

    Args:
        source: A file, or what is in one.
        bands: See :class:`Reading`; 0 for all of the image but transparency.
        no_data: See :class:`Reading`.
        sampled: Pixels of the sample, at most.

    Raises:
        FileNotFoundError: If there is no such file.
        BrokenImage: If it is no image, or lacks a band.
    """
    with _opened(source, bands, no_data) as image:
        try:
            return _looked(image, sampled)
        # Damaged files make libraries raise errors of a dozen kinds.
        except Exception as error:
            raise BrokenImage.by(image.name, error) from error


def _looked(image: Chosen, sampled: int) -> Looked:
    height, width = image.size
    whole = height * width <= MOST_PIXELS
    parts = [image.read_unscaled(box) for box in ([None] if whole else _windows(image))]
    count = len(image.places)
    pixels = np.concatenate([part.reshape(-1, count) for part, _ in parts])
    valued = np.concatenate([_valued(*part) for part in parts])
    kept = pixels[valued]
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f'{image.size}{image.image.bands}{pixels.dtype}'.encode('utf-8', 'replace'))
    digest.update(np.ascontiguousarray(pixels).data)
    low, high, smallest, largest = _ends(kept, count)
    return Looked(
        size=image.size,
        bands=image.image.bands,
        dtype=pixels.dtype,
        changes=tuple(image.changes),
        low=low,
        high=high,
        smallest=smallest,
        largest=largest,
        sample=kept[:: max(1, -(-len(kept) // sampled))].copy(),
        void=int((~valued).sum()),
        digest=digest.hexdigest() if whole else None,
    )


def look_at_some(
    sources: Iterable[Callable[[], Source]],
    bands: int | Sequence[str] | None,
    no_data: float | None = None,
) -> Iterator[Looked]:
    """Look at images, several at once; those that cannot be read are left out.

    Args:
        sources: Give a file each, or what is in one.
        bands, no_data: See :func:`look_at`.
    """

    def one(source: Callable[[], Source]) -> Looked | None:
        try:
            return look_at(source(), bands, no_data)
        except (BrokenImage, OSError):
            # Who trains or predicts leaves it out too, and says so.
            return None

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        yield from (each for each in pool.map(one, sources) if each is not None)


def _opened(source: Source, bands: int | Sequence[str] | None, no_data: float | None) -> Chosen:
    if bands != 0:
        return Reading(bands, no_data=no_data).open(source)
    image = open_image(source)
    return Chosen(image, Reading(visible(image.bands), no_data=no_data), name_of(source))


def visible(bands: Sequence[str]) -> int:
    """How many bands there are beside transparency."""
    return len(bands) - (bands[-1] == ALPHA)


def _windows(image: Chosen) -> list[Box]:
    """Of a large image, spread evenly over it."""
    tops, lefts = (
        np.linspace(0, max(0, edge - WINDOW), WINDOWS).astype(int).tolist() for edge in image.size
    )
    height, width = (min(edge, WINDOW) for edge in image.size)
    return [Box(top, left, height, width) for top in tops for left in lefts]


def _valued(pixels: np.ndarray, void: np.ndarray | None) -> np.ndarray:
    """Which pixels have a value in each band, (n,) bool."""
    if void is None:
        return np.ones(pixels.shape[0] * pixels.shape[1], bool)
    return ~void.any(axis=2).ravel()


def _ends(pixels: np.ndarray, count: int) -> tuple[np.ndarray, ...]:
    """Low, high, smallest and largest, (bands,) float64 each; NaN of no pixels."""
    if not len(pixels):
        return (np.full(count, np.nan),) * 4
    # One at least, as one pixel of a small image may be hot.
    below = min(max(1, int(HOT * len(pixels))), (len(pixels) - 1) // 2)
    above = len(pixels) - 1 - below
    ordered = np.partition(pixels, sorted({0, below, above, len(pixels) - 1}), axis=0)
    places = (below, above, 0, -1)
    return tuple(ordered[place].astype(np.float64) for place in places)


def measure(looked: Sequence[Looked], method: str = 'measured') -> Measured:
    """Find ranges, means and spreads of images.

    'measured' is what all pixels but one in 10,000 of all images but one in 100 lie between;
    'percentile' what all pixels but 2 % at each end do.

    Args:
        looked: At least one image with values.
        method: 'measured' or 'percentile'.

    Raises:
        ValueError: If there is none, or they differ in the number of bands.
    """
    by_type: dict[str, list[Looked]] = {}
    for each in looked:
        if len(each.sample):
            by_type.setdefault(each.dtype.name, []).append(each)
    if not by_type:
        raise ValueError('there are no images to measure values of')
    counts = sorted({each.sample.shape[1] for some in by_type.values() for each in some})
    if len(counts) > 1:
        raise ValueError(f'images have {", ".join(map(str, counts))} bands; choose some by bands')
    ranges = {}
    for kind, some in sorted(by_type.items()):
        if method == 'percentile':
            sample = np.concatenate([each.sample for each in some]).astype(np.float64)
            low, high = np.quantile(sample, (STRETCHED, 1 - STRETCHED), axis=0)
        elif kind == 'uint8':
            # Photos of 8 bits are what they are.
            low, high = np.zeros(counts[0]), np.full(counts[0], 255.0)
        else:
            low = np.quantile([each.low for each in some], ODD_IMAGES, axis=0, method='lower')
            high = np.quantile([e.high for e in some], 1 - ODD_IMAGES, axis=0, method='higher')
        ranges[kind] = [_apart(_plain(a), _plain(b)) for a, b in zip(low, high, strict=True)]
    return Measured(ranges, *means_and_spreads(looked, ranges))


def means_and_spreads(
    looked: Iterable[Looked], value_range: Any
) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each band in [0, 255], behind a range.

    Args:
        looked: Images of as many bands.
        value_range: See :class:`Reading`.
    """
    reading = Reading(value_range=value_range)
    scaled = [reading.scale(each.sample[None])[0] for each in looked if len(each.sample)]
    pixels = np.concatenate(scaled).astype(np.float64)
    # A band of one value would be divided by nothing.
    std = np.maximum(pixels.std(axis=0), 1.0)
    return pixels.mean(axis=0).round(3).tolist(), std.round(3).tolist()


def _apart(low: float, high: float) -> tuple[float, float]:
    """The ends of a range; of a band of one value, which becomes 0, the next number that differs.

    >>> _apart(7.0, 7.0), _apart(3e9, 3e9)
    ((7.0, 8.0), (3000000000.0, 3000003000.0))
    """
    # Of seven digits the last one.
    step = max(1.0, 1e-6 * abs(low))
    if low < high:
        return low, high
    return (low, _plain(low + step)) if low < LARGEST else (_plain(low - step), low)


def _plain(value: Any) -> float:
    """With seven digits, as ranges are written into configs."""
    return float(f'{value:.7g}')


def spread(sources: Sequence[T], most: int = MOST_LOOKED_AT) -> list[T]:
    """Some of a sequence, evenly spread from the first to the last; all if there are fewer.

    >>> spread(range(7), 3), spread('ab', 3), spread('abc', 1)
    ([0, 3, 6], ['a', 'b'], ['a'])
    """
    if len(sources) <= most:
        return list(sources)
    step = (len(sources) - 1) / max(1, most - 1)
    return [sources[round(i * step)] for i in range(most)]
