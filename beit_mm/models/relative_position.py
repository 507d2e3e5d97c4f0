"""Relative position bias: one learned number a head for each offset between two patches."""

import torch
from torch import Tensor, nn


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


class RelativePositionBias(nn.Module):
    """A table of biases and the matrix it spells out for a grid of patches and [S].

    Args:
        grid: Height and width of the patch grid.
        num_heads: Attention heads, a column of the table each.
    """

    def __init__(self, grid: tuple[int, int], num_heads: int) -> None:
        super().__init__()
        self.grid = tuple(grid)
        self.table = nn.Parameter(torch.zeros(num_relative_positions(grid), num_heads))
        self.register_buffer('index', relative_position_index(grid), persistent=False)

    def forward(self, grid: tuple[int, int]) -> Tensor:
        """Bias for attention over [S] and a grid of patches.

        Args:
            grid: The input's patch grid (h, w).

        Returns:
            (heads, 1 + h w, 1 + h w), query by key.

        Raises:
            ValueError: If the grid is not the one that the table was made for.
        """
        if tuple(grid) != self.grid:
            raise ValueError(
                f'the relative position table is for {self.grid[0]} x {self.grid[1]} patches, the '
                f'input has {grid[0]} x {grid[1]}; set img_size to the input size'
            )
        return self.table[self.index].permute(2, 0, 1)
