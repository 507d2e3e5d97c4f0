"""Rows of a relative position table: tensors and numbers only, for models and checkpoints alike."""

import math

import torch
from torch import Tensor


def num_relative_positions(grid: tuple[int, int]) -> int:
    """Rows of the bias table for a grid of (h, w) patches: every offset, and three for [S]."""
    height, width = grid
    return (2 * height - 1) * (2 * width - 1) + 3


def relative_position_index(grid: tuple[int, int]) -> Tensor:
    """Which row of the bias table serves each pair of positions.

    The layout is that of the authors' released weights: query i and key j with offset
    (dy, dx) = (y_i - y_j, x_i - x_j) use row (dy + h - 1)(2w - 1) + (dx + w - 1); the last three
    rows are [S] -> patch, patch -> [S] and [S] -> [S].

    Args:
        grid: Height and width of the patch grid.

    Returns:
        (1 + h w, 1 + h w) int64, query by key, [S] first.

    >>> relative_position_index((1, 2))
    tensor([[5, 3, 3],
            [4, 1, 0],
            [4, 2, 1]])
    """
    height, width = grid
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    y, x = y.flatten(), x.flatten()
    dy = y[:, None] - y[None, :]
    dx = x[:, None] - x[None, :]

    rows = num_relative_positions(grid)
    index = torch.empty(1 + height * width, 1 + height * width, dtype=torch.int64)
    index[1:, 1:] = (dy + height - 1) * (2 * width - 1) + (dx + width - 1)
    index[0, 1:] = rows - 3
    index[1:, 0] = rows - 2
    index[0, 0] = rows - 1
    return index


def grid_of_index(index: Tensor) -> tuple[int, int] | None:
    """The patch grid of a :func:`relative_position_index`, or None if it is none."""
    if index.ndim != 2 or index.shape[0] != index.shape[1] or len(index) < 2:
        return None
    places = len(index) - 1
    for height in range(1, places + 1):
        grid = height, places // height
        if grid[0] * grid[1] != places or index[0, 0] != num_relative_positions(grid) - 1:
            continue
        # Two grids, h x w and w x h, have as many rows; the numbers inside tell them apart.
        if torch.equal(index.cpu().long(), relative_position_index(grid)):
            return grid
    return None


def square_grid(rows: int) -> tuple[int, int] | None:
    """The square patch grid whose bias table has so many rows, or None if there is none."""
    side = math.isqrt(max(0, rows - 3)) + 1
    grid = side // 2, side // 2
    return grid if grid[0] > 0 and num_relative_positions(grid) == rows else None
