"""Relative position bias: one learned number a head for each offset between two patches."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..relative_index import num_relative_positions, relative_position_index

# How far the coordinates of a table may be spread: the ratio of two neighbouring steps.
MIN_RATIO, MAX_RATIO = 1.01, 1.5


class RelativePositions(NamedTuple):
    """What a table needs to spell out its bias for one patch grid.

    Attributes:
        grid: Height and width of the input's patch grid.
        index: (N, N) int64, see :func:`relative_position_index`.
        resize: Matrices that resample the table's rows of offsets, (2h'-1, 2h-1) and
            (2w'-1, 2w-1) float32, or None where the table was made for this grid.
    """

    grid: tuple[int, int]
    index: Tensor
    resize: tuple[Tensor, Tensor] | None = None


def geometric_coordinates(source: int, target: int) -> np.ndarray:
    """Where the entries of a longer or shorter axis of offsets lie (released code).

    Steps grow geometrically from the middle outwards, by the ratio with which the half axis of
    the source spans that of the target: near offsets keep their resolution, far ones are spread.

    Args:
        source: Entries of the stored axis, 2h - 1.
        target: Entries of the wanted axis, 2h' - 1.

    Returns:
        (source,) float64, ascending, 0 in the middle.
    """
    half = source // 2
    low, high = MIN_RATIO, MAX_RATIO
    while high - low > 1e-6:
        ratio = (low + high) / 2
        if (1 - ratio**half) / (1 - ratio) > target // 2:
            high = ratio
        else:
            low = ratio
    # The released code takes its steps from the last ratio that it tried.
    steps = np.cumsum(ratio ** np.arange(half))
    return np.concatenate([-steps[::-1], [0.0], steps])


def cubic_spline_matrix(points: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Interpolation as a matrix: values at ``queries`` = matrix @ values at ``points``.

    The spline is FITPACK's, cubic with not-a-knot ends (of lower degree where there are fewer
    than four points); queries beyond the ends take the value at the end.

    Args:
        points: (n,) ascending.
        queries: (m,).

    Returns:
        (m, n) float64.
    """
    count = len(points)
    queries = np.clip(queries, points[0], points[-1])
    if count < 4:
        # Lagrange: one polynomial through all points.
        matrix = np.ones((len(queries), count))
        for i in range(count):
            for j in range(count):
                if i != j:
                    matrix[:, i] *= (queries - points[j]) / (points[i] - points[j])
        return matrix

    # The second derivatives at the points solve ``system @ second = values_to_rhs @ values``.
    steps = np.diff(points)
    system, values_to_rhs = np.zeros((count, count)), np.zeros((count, count))
    for i in range(1, count - 1):
        before, after = steps[i - 1], steps[i]
        system[i, i - 1 : i + 2] = before / 6, (before + after) / 3, after / 6
        values_to_rhs[i, i - 1 : i + 2] = 1 / before, -1 / before - 1 / after, 1 / after
    # Not-a-knot: the third derivative does not jump at the second point from either end.
    system[0, :3] = steps[1], -steps[0] - steps[1], steps[0]
    system[-1, -3:] = steps[-1], -steps[-2] - steps[-1], steps[-2]
    second = np.linalg.solve(system, values_to_rhs)

    left = np.clip(np.searchsorted(points, queries, side='right') - 1, 0, count - 2)
    step = steps[left][:, None]
    to_right = (queries - points[left])[:, None] / step
    to_left = 1 - to_right
    identity = np.eye(count)
    return (
        to_left * identity[left]
        + to_right * identity[left + 1]
        + (to_left**3 - to_left) * step**2 / 6 * second[left]
        + (to_right**3 - to_right) * step**2 / 6 * second[left + 1]
    )


def _axis_matrix(source: int, target: int) -> Tensor:
    """(2 target - 1, 2 source - 1) float32; axes of equal length are left exactly as they are."""
    entries, wanted = 2 * source - 1, 2 * target - 1
    if entries == wanted:
        return torch.eye(entries, dtype=torch.float32)
    if entries == 1:
        return torch.ones(wanted, 1, dtype=torch.float32)
    points = geometric_coordinates(entries, wanted)
    queries = np.arange(wanted) - float(target - 1)
    return torch.from_numpy(cubic_spline_matrix(points, queries)).float()


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
        index = relative_position_index(target).to(device)
        if source == target:
            return RelativePositions(target, index)
        axes = zip(source, target, strict=True)
        resize = tuple(_axis_matrix(*axis).to(device) for axis in axes)
        return RelativePositions(target, index, resize)


def resize_relative_table(table: Tensor, matrices: tuple[Tensor, Tensor]) -> Tensor:
    """Resample a bias table to another grid; the three rows of [S] stay as they are.

    Args:
        table: (rows, heads) for a grid of (h, w).
        matrices: As in :class:`RelativePositions`.

    Returns:
        (rows', heads) for the grid of the matrices, of the table's dtype. Differentiable.
    """
    rows, columns = matrices
    # In half precision, as autocast would choose, the spline would lose the table's small values.
    with torch.autocast(table.device.type, enabled=False):
        offsets = table[:-3].float().unflatten(0, (rows.shape[1], columns.shape[1]))
        offsets = torch.einsum('iy,jx,yxh->ijh', rows, columns, offsets).flatten(0, 1)
        return torch.cat([offsets, table[-3:].float()]).to(table.dtype)


class KeptInEval:
    """Results computed from one parameter, by patch grid, kept until the parameter changes.

    Only without gradients: a graph serves one backward pass. A change through ``parameter.data``
    goes unseen, as torch counts none: call ``clear`` or ``train`` after one.

    Args:
        limit: Number of grids; the one that was made first goes first.
    """

    def __init__(self, limit: int = 16) -> None:
        self.limit = limit
        self._results = {}
        self._seen = None

    def clear(self) -> None:
        """Forget everything."""
        self._results.clear()
        self._seen = None

    def get(self, parameter: Tensor, grid: tuple[int, int], compute) -> Tensor:
        """``compute()`` for a parameter and a grid, or what it gave last time."""
        if torch.is_grad_enabled() or is_compiling() or parameter.is_inference():
            return compute()
        if self._seen is None or not self._is_seen(parameter):
            self.clear()
            # An alias: as long as it is held, no other tensor can get its place in memory.
            self._seen = parameter.detach(), parameter._version
        if grid not in self._results:
            while len(self._results) >= self.limit:
                self._results.pop(next(iter(self._results)))
            self._results[grid] = compute()
        return self._results[grid]

    def _is_seen(self, parameter: Tensor) -> bool:
        alias, version = self._seen
        return (
            parameter.data_ptr() == alias.data_ptr()
            and parameter._version == version
            and parameter.dtype == alias.dtype
            and parameter.device == alias.device
        )


def is_compiling() -> bool:
    """Whether torch.compile is tracing; torch 2.1 has the question in another place."""
    if hasattr(torch.compiler, 'is_compiling'):
        return torch.compiler.is_compiling()
    return torch._utils.is_compiling()


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
        table = self.table
        if positions.resize is not None:
            table = self._resized.get(
                table, positions.grid, lambda: resize_relative_table(self.table, positions.resize)
            )
        # PyTorch's fused attention on a GPU takes no bias whose rows do not lie together in memory.
        return table[positions.index].permute(2, 0, 1).contiguous()
