"""Relative position bias: one learned number a head for each offset between two patches."""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..relative_index import num_relative_positions, relative_position_index
from .compiling import is_compiling, is_recording
from .kept_in_eval import KeptInEval
from .resize_positions import (
    axis_matrix,
    is_open,
    matrices_of_every_size,
    resize_relative_table,
    same_grid,
)


class RelativePositions(NamedTuple):
    """What a table needs to spell out its bias for one patch grid.

    Attributes:
        grid: Height and width of the input's patch grid.
        table_rows: (N, N) int64, see :func:`relative_position_index`.
        resize: Matrices that resample the table's rows of offsets, (2h'-1, 2h-1) and
            (2w'-1, 2w-1) float32, or None where the table was made for this grid.
    """

    grid: tuple[int, int]
    table_rows: Tensor
    resize: tuple[Tensor, Tensor] | None = None


def relative_positions(
    source: tuple[int, int], target: tuple[int, int], device: torch.device
) -> RelativePositions:
    """How a table for one patch grid serves another.

    Args:
        source: Grid (h, w) of the table.
        target: Grid (h', w') of the input.
        device: Where the tensors shall be.

    Returns:
        Tensors that are shared between calls: not to be written to.
    """
    if is_recording():
        return _make_positions(source, target, device)
    settings = tuple(source), tuple(target), torch.device(device)
    if is_compiling():
        # The compiler breaks its graph here. As a decorator this would import the compiler, which
        # takes a second, wherever the package is imported.
        return torch.compiler.disable(_relative_positions)(*settings)
    return _relative_positions(*settings)


# Kept, for the largest sizes take tens of megabytes and as many milliseconds to make.
@lru_cache(maxsize=16)
def _relative_positions(
    source: tuple[int, int], target: tuple[int, int], device: torch.device
) -> RelativePositions:
    # What is kept must serve training too, even if evaluation asked for it first.
    with torch.inference_mode(False):
        return _make_positions(source, target, device)


def _make_positions(
    source: tuple[int, int], target: tuple[int, int], device: torch.device
) -> RelativePositions:
    index = relative_position_index(target).to(device)
    if same_grid(source, target):
        return RelativePositions(target, index)
    axes = zip(source, target, strict=True)
    rows, columns = (_matrix(*axis).to(device) for axis in axes)
    return RelativePositions(target, index, (rows, columns))


def _matrix(source: int, target: int) -> Tensor:
    """:func:`axis_matrix`, of a size that an exporter leaves open too."""
    if not is_open(target):
        return axis_matrix(source, target)
    # Looked up: what is computed on the way to a matrix depends on its size.
    return matrices_of_every_size(source)[torch.arange(2 * target - 1) + (target - 1) ** 2]


class RelativePositionBias(nn.Module):
    """A table of biases and the matrix it spells out for a grid of patches and [S].

    Args:
        grid: Height and width of the patch grid that the table is made for.
        num_heads: Attention heads, a column of the table each.
    """

    def __init__(self, grid: tuple[int, int], num_heads: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(num_relative_positions(grid), num_heads))
        self._resized = KeptInEval()

    def train(self, mode: bool = True):
        """Set the mode, and forget tables that were resized: the weights may be others now."""
        self._resized.clear()
        return super().train(mode)

    def forward(self, positions: RelativePositions) -> Tensor:
        """Bias for attention over [S] and a grid of patches.

        Args:
            positions: From :func:`relative_positions`, for the table's grid and the input's.

        Returns:
            (heads, 1 + h w, 1 + h w), query by key.
        """
        table: Tensor = self.table
        if (matrices := positions.resize) is not None:
            table = self._resized.get(
                table, positions.grid, lambda: resize_relative_table(self.table, matrices)
            )
        # PyTorch's fused attention on a GPU takes no bias whose rows do not lie together in memory.
        return table[positions.table_rows].permute(2, 0, 1).contiguous()
