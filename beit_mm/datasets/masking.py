"""Masks for masked image modeling: blocks (paper 2.3, Algorithm 1) and random patches."""

import functools
import math
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate, chain
from numbers import Integral
from typing import Protocol

import numpy as np
from mmcv.transforms import BaseTransform

from ..registry import TRANSFORMS

# Draws of the released code before it leaves a block out.
TRIES_PER_BLOCK = 10
# Areas at which the probabilities of a block's shapes are computed; they are right to 1e-5.
AREAS = 256
# From a binary digit that tells whether a patch is visible to the byte of a bool, whether hidden.
HIDDEN = bytes.maketrans(b'01', b'\1\0')
# Random numbers drawn at once: enough for most masks.
CHUNK = 32


class Source(Protocol):
    """A source of randomness: a ``np.random.Generator``, a ``RandomState``, or ``np.random``."""

    def random(self, size: int) -> np.ndarray:
        """Numbers uniform in [0, 1), (size,) float64."""


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
    """
    _check_budget(grid_size, num_masked)
    blocks = _Blocks(tuple(grid_size), min_block, max_block, aspect_ratio, exact)
    return blocks.mask(num_masked, np.random.default_rng() if rng is None else rng)


class _Blocks:
    """Lays blocks on a grid whose patches are the bits of an integer, row by row from the highest.

    A block of every shape at every place is such an integer, known beforehand, so that to draw a
    block takes two random numbers, and to count what it adds takes two instructions.

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
        if not min_block >= 1:
            raise ValueError(f'min_block is {min_block}; a block has at least 1 patch')
        if max_block is not None and not max_block >= min_block:
            raise ValueError(f'max_block {max_block} is less than min_block {min_block}')
        if not 0 < aspect_ratio[0] <= aspect_ratio[1] < math.inf:
            raise ValueError(f'aspect_ratio is {aspect_ratio}; it must be 0 < smallest <= largest')
        self.grid_size, self.min_block, self.max_block = grid_size, min_block, max_block
        self.log_ratio = math.log(aspect_ratio[0]), math.log(aspect_ratio[1])
        self.exact = exact
        self.patches = grid_size[0] * grid_size[1]
        self.shapes = {}

    def mask(self, num_masked: int, rng: Source) -> np.ndarray:
        """A mask of ``num_masked`` patches, (height, width) bool."""
        number = chain.from_iterable(iter(lambda: rng.random(CHUNK).tolist(), None)).__next__
        visible = (1 << self.patches) - 1
        left, add_block = num_masked, self.draw
        while left > 0:
            largest = left if self.max_block is None else min(left, self.max_block)
            block = add_block(largest, visible, number)
            visible ^= block
            left -= block.bit_count()
            if not block:
                # The released code gives up here.
                if not self.exact:
                    break
                add_block = self.top_up
        digits = bytearray(f'{visible:0{self.patches}b}', 'ascii').translate(HIDDEN)
        return np.ndarray(self.grid_size, bool, digits)

    def draw(self, largest: int, visible: int, number: Callable[[], float]) -> int:
        """What a random block hides of the visible patches, 1 to ``largest``; 0 if ten do not."""
        # Towards the end the budget is less than min_block: then areas are drawn between the two
        # and blocks must overlap what is hidden already, as in the released code.
        if largest not in self.shapes:
            self.shapes[largest] = _block_shapes(
                self.grid_size, self.min_block, largest, self.log_ratio
            )
        limits, shapes = self.shapes[largest]
        for _ in range(TRIES_PER_BLOCK):
            count, places = shapes[bisect_right(limits, number())]
            # No place: the shape does not fit the grid.
            if count:
                block = places[int(number() * count)] & visible
                if block and block.bit_count() <= largest:
                    return block
        return 0

    def top_up(self, largest: int, visible: int, number: Callable[[], float]) -> int:
        """What a block of ``largest`` patches or a few less hides, a random visible one among it.

        Blocks grow where they can, so what is hidden stays in few pieces.
        """
        height, width = self.grid_size
        last = self.patches - 1
        for _ in range(TRIES_PER_BLOCK):
            place = int(number() * self.patches)
            if visible >> (last - place) & 1:
                break
        else:
            places = [k for k in range(self.patches) if visible >> (last - k) & 1]
            place = places[int(number() * len(places))]
        ratio = math.exp(self.log_ratio[0] + (self.log_ratio[1] - self.log_ratio[0]) * number())
        rows = min(max(1, round(math.sqrt(largest * ratio))), height, largest)
        columns = min(largest // rows, width)
        rows = min(largest // columns, height)
        top = _cover(place // width, rows, height, number)
        left = _cover(place % width, columns, width, number)
        return _places(self.grid_size, rows, columns)[top * (width - columns + 1) + left] & visible


def _check_budget(grid_size: tuple[int, int], num_masked: int) -> None:
    height, width = grid_size
    if not all(isinstance(number, Integral) for number in (height, width, num_masked)):
        raise ValueError(
            f'grid_size is {height} x {width} and num_masked is {num_masked}; all three must be '
            'whole numbers'
        )
    if height < 1 or width < 1:
        raise ValueError(f'grid_size is {height} x {width}; both must be at least 1')
    if not 0 <= num_masked <= height * width:
        raise ValueError(
            f'num_masked is {num_masked}; a grid of {height} x {width} has '
            f'0 to {height * width} patches to hide'
        )


@functools.lru_cache(maxsize=4096)
def _block_shapes(
    grid_size: tuple[int, int], smallest: int, largest: int, log_ratio: tuple[float, float]
) -> tuple[list[float], list[tuple[int, tuple[int, ...]]]]:
    """Blocks of random area and aspect ratio, by height and width.

    The area s is uniform between ``smallest`` and ``largest``, the aspect ratio r log-uniform, and
    a block has round(sqrt(s r)) rows and round(sqrt(s / r)) columns. For a given s each shape takes
    an interval of log r; its mean length over all s is the shape's probability.

    Returns:
        The running sum of the probabilities of all shapes that fit the grid; and for each shape
        its number of places and the block at each of them. After the last comes one with no place,
        for all that does not fit.
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
    limits = list(accumulate(float(probabilities[index]) for index in map(tuple, possible)))
    shapes = [_places(grid_size, h + 1, w + 1) for h, w in possible]
    return limits, [*((len(places), places) for places in shapes), (0, ())]


@functools.lru_cache(maxsize=4096)
def _places(grid_size: tuple[int, int], height: int, width: int) -> tuple[int, ...]:
    """A block at every place of the grid, each as bits of an integer."""
    # At the end of the grid, from where the other places are further up, in reading order.
    block = sum(((1 << width) - 1) << (row * grid_size[1]) for row in range(height))
    ups, backs = range(grid_size[0] - height, -1, -1), range(grid_size[1] - width, -1, -1)
    return tuple(block << (up * grid_size[1] + back) for up in ups for back in backs)


def _cover(place: int, size: int, limit: int, number: Callable[[], float]) -> int:
    """Where ``size`` of ``limit`` places begin, at random but with ``place`` among them."""
    first = max(0, place - size + 1)
    return first + int(number() * (min(place, limit - size) + 1 - first))


def random_mask(
    grid_size: tuple[int, int] = (14, 14),
    num_masked: int = 75,
    *,
    rng: Source | None = None,
) -> np.ndarray:
    """Hide patches one by one, each set of ``num_masked`` equally likely.

    Args:
        grid_size: Height and width of the patch grid.
        num_masked: Patches to hide, 0 to height * width.
        rng: Source of randomness; None for a fresh one.

    Returns:
        (height, width) bool, True where hidden.

    Raises:
        ValueError: If there are fewer patches than ``num_masked``.
    """
    _check_budget(grid_size, num_masked)
    rng = np.random.default_rng() if rng is None else rng
    mask = np.zeros(grid_size[0] * grid_size[1], dtype=bool)
    mask[rng.random(mask.size).argsort()[:num_masked]] = True
    return mask.reshape(grid_size)


@TRANSFORMS.register_module()
class BlockwiseMaskGenerator(BaseTransform):
    """Add ``mask``, (h, w) bool, by :func:`blockwise_mask`.

    Args:
        grid_size: Patch grid (h, w); it must be img_size / patch_size.
        num_masked: Patches to hide.
        min_block, max_block, aspect_ratio, exact: See :func:`blockwise_mask`.
    """

    def __init__(
        self,
        grid_size: tuple[int, int] = (14, 14),
        num_masked: int = 75,
        min_block: int = 16,
        max_block: int | None = None,
        aspect_ratio: tuple[float, float] = (0.3, 1 / 0.3),
        exact: bool = True,
    ) -> None:
        self.grid_size = tuple(grid_size)
        self.settings = dict(
            num_masked=num_masked,
            min_block=min_block,
            max_block=max_block,
            aspect_ratio=tuple(aspect_ratio),
            exact=exact,
        )
        _check_budget(self.grid_size, num_masked)
        self.blocks = _Blocks(self.grid_size, min_block, max_block, aspect_ratio, exact)

    def transform(self, results: dict) -> dict:
        """Add ``mask`` to the sample."""
        # NumPy's global state is what mmengine seeds in each loader worker.
        results['mask'] = self.blocks.mask(self.settings['num_masked'], np.random)
        return results

    def __repr__(self) -> str:
        settings = ', '.join(f'{name}={value}' for name, value in self.settings.items())
        return f'{type(self).__name__}(grid_size={self.grid_size}, {settings})'


@TRANSFORMS.register_module()
class RandomMaskGenerator(BaseTransform):
    """Add ``mask``, (h, w) bool, by :func:`random_mask`.

    Args:
        grid_size: Patch grid (h, w); it must be img_size / patch_size.
        num_masked: Patches to hide.
    """

    def __init__(self, grid_size: tuple[int, int] = (14, 14), num_masked: int = 75) -> None:
        self.grid_size = tuple(grid_size)
        self.num_masked = num_masked
        _check_budget(self.grid_size, num_masked)

    def transform(self, results: dict) -> dict:
        """Add ``mask`` to the sample."""
        results['mask'] = random_mask(self.grid_size, self.num_masked, rng=np.random)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(grid_size={self.grid_size}, num_masked={self.num_masked})'
