"""Positions made for one patch grid, resampled for another."""

import itertools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# How far the coordinates of a table may be spread: the ratio of two neighbouring steps.
MIN_RATIO, MAX_RATIO = 1.01, 1.5
# Patches of an axis that a program exported with open sizes can serve: 1024 pixels of 16.
MOST_PATCHES = 64


def is_open(size: int) -> bool:
    """Whether torch.export leaves a size open: a comparison with a number would fix it."""
    return isinstance(size, torch.SymInt)


def same_grid(source: tuple[int, int], target: tuple[int, int]) -> bool:
    """Whether positions serve a grid as they are; no of one that is open, whatever it will be."""
    return not any(map(is_open, target)) and source == target


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
        return _polynomial_matrix(points, queries)

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


def _polynomial_matrix(points: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Lagrange's interpolation, one polynomial through all points, as a matrix."""
    matrix = np.ones((len(queries), len(points)))
    for i, j in itertools.permutations(range(len(points)), 2):
        matrix[:, i] *= (queries - points[j]) / (points[i] - points[j])
    return matrix


def axis_matrix(source: int, target: int) -> Tensor:
    """(2 target - 1, 2 source - 1) float32; axes of equal length are left exactly as they are."""
    return torch.from_numpy(_axis_matrix(source, target))


def _axis_matrix(source: int, target: int) -> np.ndarray:
    entries, wanted = 2 * source - 1, 2 * target - 1
    if entries == wanted:
        return np.eye(entries, dtype=np.float32)
    if entries == 1:
        return np.ones((wanted, 1), np.float32)
    points = geometric_coordinates(entries, wanted)
    queries = np.arange(wanted) - float(target - 1)
    return cubic_spline_matrix(points, queries).astype(np.float32)


def matrices_of_every_size(source: int) -> Tensor:
    """:func:`axis_matrix` for targets of 1, 2, ... ``MOST_PATCHES``, one below the other.

    That of ``target`` is rows (target - 1)**2 to target**2: it has 2 target - 1, the difference.
    """
    targets = range(1, MOST_PATCHES + 1)
    return torch.from_numpy(np.concatenate([_axis_matrix(source, target) for target in targets]))


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


def resize_absolute_positions(
    positions: Tensor, source: tuple[int, int], target: tuple[int, int]
) -> Tensor:
    """Resample absolute positions to another grid, bicubic; that of [S] stays (released code).

    Args:
        positions: (1, 1 + h w, C), [S] first; or, as the length says, of none or more such tokens.
        source: Their grid (h, w).
        target: The wanted grid (h', w').

    Returns:
        (1, 1 + h' w', C). Differentiable.
    """
    if same_grid(source, target):
        return positions
    tokens = positions.shape[1] - source[0] * source[1]
    patches = positions[:, tokens:].transpose(1, 2).unflatten(2, source).float()
    patches = F.interpolate(patches, size=target, mode='bicubic', align_corners=False)
    patches = patches.flatten(2).transpose(1, 2).to(positions.dtype)
    return torch.cat([positions[:, :tokens], patches], dim=1)
