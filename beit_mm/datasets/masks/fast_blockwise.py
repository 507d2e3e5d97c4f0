"""Blockwise masks many times as fast: every block is known beforehand, as bits of an integer.

The plain twin is :func:`beit_mm.datasets.masks.blockwise.plain_blockwise_mask`.
"""

import functools
import math
from bisect import bisect_right
from collections.abc import Iterator
from itertools import chain, islice

import numpy as np

from .blockwise import TRIES_PER_BLOCK, Source, check_blocks, check_budget

# Areas at which the probabilities of a block's shapes are computed; they are right to 1e-5.
AREAS = 256
# Random numbers drawn at once of NumPy: enough for most masks.
CHUNK = 16
# From a binary digit that tells whether a patch is visible to the byte of a bool, whether hidden.
HIDDEN = bytes.maketrans(b'01', b'\1\0')


def blockwise_mask(
    grid_size: tuple[int, int] = (14, 14),
    num_masked: int = 75,
    *,
    min_block: int = 16,
    max_block: int | None = None,
    aspect_ratio: tuple[float, float] = (0.3, 1 / 0.3),
    exact: bool = True,
    rng: Source | None = None,
) -> np.ndarray:
    """Hide blocks of patches until a budget is reached.

    A block's area is uniform between ``min_block`` and what is left of the budget, its aspect
    ratio log-uniform, its place uniform. As in the released code a block is drawn up to ten times
    until it hides at least one new patch and no more than the budget allows. Where ten draws fail
    the released code stops, and hides "at most" ``num_masked``; that is ``exact=False``. With
    ``exact=True`` one more block is laid over a patch that is still visible and cut off where the
    budget ends, so that every mask hides the same number and a batch keeps one shape.

    Args:
        grid_size: Height and width of the patch grid.
        num_masked: Patches to hide, 0 to height * width.
        min_block: Smallest area of a block, in patches.
        max_block: Largest area; None for no limit but the budget.
        aspect_ratio: Smallest and largest height / width of a block.
        exact: Whether to hide exactly ``num_masked``, not at most.
        rng: Source of randomness; None for a fresh one.

    Returns:
        (height, width) bool, True where hidden.

    Raises:
        ValueError: If the arguments cannot be met.

    >>> mask = blockwise_mask((14, 14), 75)
    >>> mask.shape, int(mask.sum())
    ((14, 14), 75)
    """
    check_budget(grid_size, num_masked)
    blocks = Blocks(grid_size, min_block, max_block, aspect_ratio, exact)
    rng = np.random.default_rng() if rng is None else rng
    # A call for many numbers costs little more than one for a single number.
    numbers = chain.from_iterable(iter(lambda: rng.random(CHUNK).tolist(), None))
    return blocks.mask(num_masked, numbers)


class Blocks:
    """Lays blocks on a grid whose patches are the bits of an integer, row by row from the highest.

    A block of every shape at every place is such an integer, known beforehand, so that to draw a
    block takes one random number, and to count what it adds takes two instructions.

    Args:
        grid_size, min_block, max_block, aspect_ratio, exact: See :func:`blockwise_mask`.
    """

    def __init__(
        self,
        grid_size: tuple[int, int],
        min_block: int,
        max_block: int | None,
        aspect_ratio: tuple[float, float],
        exact: bool,
    ) -> None:
        check_blocks(min_block, max_block, aspect_ratio)
        # Python's own numbers: NumPy's have 64 bits, and would stay in the tables that are kept.
        self.grid_size = tuple(map(int, grid_size))
        self.max_block = max_block if max_block is None else int(max_block)
        self.log_ratio = math.log(aspect_ratio[0]), math.log(aspect_ratio[1])
        self.exact = exact
        self.patches = self.grid_size[0] * self.grid_size[1]
        self.shapes = _Shapes(self.grid_size, min_block, self.log_ratio)

    def mask(self, num_masked: int, numbers: Iterator[float]) -> np.ndarray:
        """A mask of ``num_masked`` patches, (height, width) bool, by numbers in [0, 1)."""
        visible = (1 << self.patches) - 1
        left, max_block, add_block = int(num_masked), self.max_block, self.draw
        while left > 0:
            largest = left if max_block is None or left < max_block else max_block
            block = add_block(largest, visible, numbers)
            visible ^= block
            left -= block.bit_count()
            if not block:
                # The released code gives up here.
                if not self.exact:
                    break
                add_block = self.top_up
        # A digit ahead of them all keeps leading zeros; it and Python's "0b" are left out.
        digits = bin(visible | 1 << self.patches)[3:]
        return np.ndarray(self.grid_size, bool, bytearray(digits, 'ascii').translate(HIDDEN))

    def draw(self, largest: int, visible: int, numbers: Iterator[float]) -> int:
        """What a random block hides of the visible patches, 1 to ``largest``; 0 if ten do not."""
        # Towards the end the budget is less than min_block: then areas are drawn between the two
        # and blocks must overlap what is hidden already, as in the released code.
        limits, shapes = self.shapes[largest]
        for number in islice(numbers, TRIES_PER_BLOCK):
            start, places_a_unit, places = shapes[bisect_right(limits, number)]
            block = places[int((number - start) * places_a_unit)] & visible
            if block and block.bit_count() <= largest:
                return block
        return 0

    def top_up(self, largest: int, visible: int, numbers: Iterator[float]) -> int:
        """What a block of ``largest`` patches or a few less hides, a random visible one among it.

        Blocks grow where they can, so what is hidden stays in few pieces.
        """
        height, width = self.grid_size
        last = self.patches - 1
        for _ in range(TRIES_PER_BLOCK):
            place = int(next(numbers) * self.patches)
            if visible >> (last - place) & 1:
                break
        else:
            places = [k for k in range(self.patches) if visible >> (last - k) & 1]
            place = places[int(next(numbers) * len(places))]
        low, high = self.log_ratio
        ratio = math.exp(low + (high - low) * next(numbers))
        rows = min(max(1, round(math.sqrt(largest * ratio))), height, largest)
        columns = min(largest // rows, width)
        rows = min(largest // columns, height)
        top = _cover(place // width, rows, height, numbers)
        left = _cover(place % width, columns, width, numbers)
        return _places(self.grid_size, rows, columns)[top * (width - columns + 1) + left] & visible


class _Shapes(dict):
    """:func:`_block_shapes` by ``largest``, computed when it is first asked for."""

    def __init__(self, *settings) -> None:
        super().__init__()
        self.settings = settings

    def __missing__(self, largest: int) -> tuple[list, list]:
        self[largest] = shapes = _block_shapes(largest, *self.settings)
        return shapes


@functools.lru_cache(maxsize=4096)
def _block_shapes(
    largest: int, grid_size: tuple[int, int], smallest: int, log_ratio: tuple[float, float]
) -> tuple[list[float], list[tuple[float, float, tuple[int, ...]]]]:
    """Blocks of random area and aspect ratio, by height and width.

    The area s is uniform between ``smallest`` and ``largest``, the aspect ratio r log-uniform, and
    a block has round(sqrt(s r)) rows and round(sqrt(s / r)) columns. For a given s each shape takes
    an interval of log r; its mean length over all s is the shape's probability.

    Returns:
        The running sum of the probabilities of all shapes that fit the grid; and for each shape
        where its interval of these begins, how many of its places a unit of it holds, and the
        block at each place. The last is for all that does not fit: a block that hides nothing.
    """
    # The released comparison is strict: no block spans the grid.
    heights, widths = (np.arange(1, edge) for edge in grid_size)
    log_area = np.log(smallest + (largest - smallest) * (np.arange(AREAS) + 0.5) / AREAS)
    log_area = log_area[:, None, None]
    log_h = [2 * np.log(heights + half)[:, None] - log_area for half in (-0.5, 0.5)]
    log_w = [log_area - 2 * np.log(widths + half) for half in (0.5, -0.5)]
    start, end = np.maximum(log_h[0], log_w[0]), np.minimum(log_h[1], log_w[1])
    low, high = log_ratio
    if low < high:
        share = (np.minimum(end, high) - np.maximum(start, low)).clip(min=0) / (high - low)
    else:
        share = (start <= low) & (low < end)
    probabilities = share.mean(axis=0)
    possible = np.argwhere(probabilities > 0).tolist()
    limits, shapes, start = [], [], 0.0
    for height, width in possible:
        places = _places(grid_size, height + 1, width + 1)
        end = start + float(probabilities[height, width])
        if end > start:
            # A hair less, so that no rounding leads past the last place.
            shapes.append((start, len(places) * (1 - 1e-9) / (end - start), places))
            limits.append(end)
        start = end
    return limits, [*shapes, (start, 0.0, (0,))]


@functools.lru_cache(maxsize=4096)
def _places(grid_size: tuple[int, int], height: int, width: int) -> tuple[int, ...]:
    """A block at every place of the grid, each as bits of an integer."""
    # At the end of the grid, from where the other places are further up, in reading order.
    block = sum(((1 << width) - 1) << (row * grid_size[1]) for row in range(height))
    ups, backs = range(grid_size[0] - height, -1, -1), range(grid_size[1] - width, -1, -1)
    return tuple(block << (up * grid_size[1] + back) for up in ups for back in backs)


def _cover(place: int, size: int, limit: int, numbers: Iterator[float]) -> int:
    """Where ``size`` of ``limit`` places begin, at random but with ``place`` among them."""
    first = max(0, place - size + 1)
    return first + int(next(numbers) * (min(place, limit - size) + 1 - first))
