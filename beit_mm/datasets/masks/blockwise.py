"""Blocks of patches to hide: Algorithm 1 of the BEiT paper (2.3).

:func:`plain_blockwise_mask` is the algorithm as the paper and the released code have it.
:func:`beit_mm.datasets.masks.fast_blockwise.blockwise_mask` draws masks of the same distribution
many times as fast.
"""

import math
from numbers import Integral
from typing import Protocol

import numpy as np

# Draws of the released code before it leaves a block out.
TRIES_PER_BLOCK = 10


class Source(Protocol):
    """A source of randomness: a ``np.random.Generator``, a ``RandomState``, or ``np.random``."""

    def random(self, size: int) -> np.ndarray:
        """Numbers uniform in [0, 1), (size,) float64."""


def plain_blockwise_mask(
    grid_size: tuple[int, int] = (14, 14),
    num_masked: int = 75,
    *,
    min_block: int = 16,
    max_block: int | None = None,
    aspect_ratio: tuple[float, float] = (0.3, 1 / 0.3),
    rng: Source | None = None,
) -> np.ndarray:
    """Algorithm 1, in its words: the plain twin of ``blockwise_mask(exact=False)``.

    What the released code adds to the paper: the aspect ratio is log-uniform; sides are rounded; a
    block that spans the grid, hides nothing new or more than is left is drawn again; and after ten
    such draws the mask stays as it is, with fewer patches than were asked for.

    Args:
        grid_size, num_masked, min_block, max_block, aspect_ratio: See :func:`blockwise_mask`.
        rng: Source of randomness; None for a fresh one.

    Returns:
        (height, width) bool, True where hidden.

    Raises:
        ValueError: If the arguments cannot be met.

    >>> mask = plain_blockwise_mask((14, 14), 75, rng=np.random.default_rng(0))
    >>> mask.shape, int(mask.sum()) <= 75
    ((14, 14), True)
    """
    check_budget(grid_size, num_masked)
    check_blocks(min_block, max_block, aspect_ratio)
    rng = np.random.default_rng() if rng is None else rng
    (height, width), low, high = grid_size, *np.log(aspect_ratio)

    mask = np.zeros(grid_size, bool)  # M
    while (left := num_masked - mask.sum()) > 0:
        largest = left if max_block is None else min(left, max_block)
        for _ in range(TRIES_PER_BLOCK):
            size, log_ratio, down, right = rng.random(4)
            s = min_block + (largest - min_block) * size  # block size
            r = math.exp(low + (high - low) * log_ratio)  # aspect ratio
            a, b = round(math.sqrt(s * r)), round(math.sqrt(s / r))
            if a >= height or b >= width:
                continue
            t, l = int(down * (height - a + 1)), int(right * (width - b + 1))  # noqa: E741
            block = mask[t : t + a, l : l + b]
            if 0 < block.size - block.sum() <= largest:
                block[:] = True
                break
        else:
            break
    return mask


def check_budget(grid_size: tuple[int, int], num_masked: int) -> None:
    """Refuse a number of patches that a grid has not.

    Raises:
        ValueError: With the name of the argument.
    """
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


def check_blocks(min_block: int, max_block: int | None, aspect_ratio: tuple[float, float]) -> None:
    """Refuse blocks that no mask can be made of; see :func:`plain_blockwise_mask`.

    Raises:
        ValueError: With the name of the argument.
    """
    if not min_block >= 1:
        raise ValueError(f'min_block is {min_block}; a block has at least 1 patch')
    if max_block is not None and not max_block >= min_block:
        raise ValueError(f'max_block {max_block} is less than min_block {min_block}')
    if not 0 < aspect_ratio[0] <= aspect_ratio[1] < math.inf:
        raise ValueError(f'aspect_ratio is {aspect_ratio}; it must be 0 < smallest <= largest')
