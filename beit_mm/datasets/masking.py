"""Masks for masked image modeling: blocks (paper 2.3, Algorithm 1) and random patches."""

import math
from numbers import Integral

import numpy as np
from mmcv.transforms import BaseTransform

from ..registry import TRANSFORMS

# Draws of the released code before it leaves a block out.
TRIES_PER_BLOCK = 10


def blockwise_mask(
    grid_size: tuple[int, int] = (14, 14),
    num_masked: int = 75,
    *,
    min_block: int = 16,
    max_block: int | None = None,
    aspect_ratio: tuple[float, float] = (0.3, 1 / 0.3),
    exact: bool = True,
    rng: np.random.Generator | None = None,
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
    if not min_block >= 1:
        raise ValueError(f'min_block is {min_block}; a block has at least 1 patch')
    if max_block is not None and not max_block >= min_block:
        raise ValueError(f'max_block {max_block} is less than min_block {min_block}')
    if not 0 < aspect_ratio[0] <= aspect_ratio[1] < math.inf:
        raise ValueError(f'aspect_ratio is {aspect_ratio}; it must be 0 < smallest <= largest')
    rng = np.random.default_rng() if rng is None else rng
    height, width = grid_size
    log_ratio = math.log(aspect_ratio[0]), math.log(aspect_ratio[1])

    mask = np.zeros((height, width), dtype=bool)
    left = num_masked
    while left > 0:
        largest = left if max_block is None else min(left, max_block)
        for _ in range(TRIES_PER_BLOCK):
            # Towards the end the budget is less than min_block: then blocks are drawn between
            # the two and must overlap what is hidden already, as in the released code.
            block_h, block_w = _draw_block(rng, min_block, largest, log_ratio)
            if block_h < height and block_w < width:
                top = rng.integers(height - block_h + 1)
                left_edge = rng.integers(width - block_w + 1)
                block = mask[top : top + block_h, left_edge : left_edge + block_w]
                added = block.size - np.count_nonzero(block)
                if 0 < added <= largest:
                    block[...] = True
                    left -= added
                    break
        else:
            if not exact:
                break
            left -= _top_up(mask, largest, _draw_block(rng, min_block, largest, log_ratio), rng)
    return mask


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


def _draw_block(
    rng: np.random.Generator, smallest: int, largest: int, log_ratio: tuple[float, float]
) -> tuple[int, int]:
    """Height and width of a block of random area and aspect ratio."""
    area = smallest + (largest - smallest) * rng.random()
    ratio = math.exp(rng.uniform(*log_ratio))
    return round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))


def _top_up(
    mask: np.ndarray, budget: int, block_size: tuple[int, int], rng: np.random.Generator
) -> int:
    """Hide a block over a random visible patch, at most ``budget`` of it; return how many.

    The patches next to that one come first, so what is hidden stays in one piece.
    """
    y, x = rng.choice(np.argwhere(~mask))
    height, width = (
        max(1, min(size, limit)) for size, limit in zip(block_size, mask.shape, strict=True)
    )
    top = rng.integers(max(0, y - height + 1), min(y, mask.shape[0] - height) + 1)
    left = rng.integers(max(0, x - width + 1), min(x, mask.shape[1] - width) + 1)
    visible = np.argwhere(~mask[top : top + height, left : left + width]) + np.array([top, left])
    nearest = np.abs(visible - (y, x)).sum(axis=1).argsort(kind='stable')[:budget]
    rows, columns = visible[nearest].T
    mask[rows, columns] = True
    return len(nearest)


def random_mask(
    grid_size: tuple[int, int] = (14, 14),
    num_masked: int = 75,
    *,
    rng: np.random.Generator | None = None,
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
    mask[rng.choice(mask.size, num_masked, replace=False)] = True
    return mask.reshape(grid_size)


def worker_rng() -> np.random.Generator:
    """A generator for one sample, seeded from NumPy's global state.

    mmengine seeds that state in each loader worker from the run's seed, so this is what makes the
    masks of a run repeat.
    """
    return np.random.default_rng(np.random.randint(0, 2**31, size=4))


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
        # Impossible settings are found here, not in a loader worker.
        blockwise_mask(self.grid_size, **self.settings, rng=np.random.default_rng(0))

    def transform(self, results: dict) -> dict:
        """Add ``mask`` to the sample."""
        results['mask'] = blockwise_mask(self.grid_size, **self.settings, rng=worker_rng())
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
        results['mask'] = random_mask(self.grid_size, self.num_masked, rng=worker_rng())
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(grid_size={self.grid_size}, num_masked={self.num_masked})'
