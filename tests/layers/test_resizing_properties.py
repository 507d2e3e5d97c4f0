"""Resizing of relative tables: what must hold whatever the grids, and SciPy as the reference."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import make_interp_spline

from beit_mm.layers.relative_position import relative_positions
from beit_mm.layers.resize_positions import cubic_spline_matrix, resize_relative_table
from beit_mm.relative_index import num_relative_positions

repeatable = settings(derandomize=True, database=None, deadline=None, max_examples=300)
grids = st.tuples(st.integers(1, 9), st.integers(1, 9))
seeds = st.integers(0, 2**31)


def resized(table: torch.Tensor, source: tuple, target: tuple) -> torch.Tensor:
    positions = relative_positions(source, target, torch.device('cpu'))
    return table if positions.resize is None else resize_relative_table(table, positions.resize)


def table_for(grid: tuple, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_relative_positions(grid), 2, generator=generator)


@repeatable
@given(
    steps=st.lists(st.floats(0.05, 5), min_size=3, max_size=20),
    queries=st.lists(st.floats(-0.2, 1.2), min_size=1, max_size=20),
    seed=seeds,
)
def test_the_spline_is_scipys(steps, queries, seed):
    points = np.concatenate([[0.0], np.cumsum(steps)])
    values = np.random.default_rng(seed).normal(size=(len(points), 2))
    places = np.array(queries) * points[-1]
    expected = make_interp_spline(points, values, k=3)(np.clip(places, 0, points[-1]))
    found = cubic_spline_matrix(points, places) @ values
    # Steps of very unequal length make splines that swing far beyond their values.
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


@repeatable
@given(source=grids, target=grids, seed=seeds)
def test_what_holds_for_any_two_grids(source, target, seed):
    table, other = table_for(source, seed), table_for(source, seed + 1)
    new = resized(table, source, target)
    assert new.shape == (num_relative_positions(target), 2)
    assert new.isfinite().all()
    # The rows of [S] have no place.
    assert torch.equal(new[-3:], table[-3:])
    if source == target:
        assert torch.equal(new, table)
    # One value everywhere stays so; the table enters linearly.
    torch.testing.assert_close(
        resized(torch.full_like(table, 0.7), source, target), torch.full_like(new, 0.7)
    )
    both = resized(2 * table - 3 * other, source, target)
    torch.testing.assert_close(
        both, 2 * new - 3 * resized(other, source, target), atol=1e-4, rtol=1e-4
    )
    # Offset zero is offset zero.
    middle = (len(table) - 3) // 2
    torch.testing.assert_close(new[(len(new) - 3) // 2], table[middle], atol=1e-4, rtol=1e-4)


@repeatable
@given(source=grids, target=grids, seed=seeds)
def test_mirrored_and_turned_tables_resize_alike(source, target, seed):
    table = table_for(source, seed)
    new = resized(table, source, target)
    mirrored = torch.cat([table[:-3].flip(0), table[-3:]])
    torch.testing.assert_close(
        resized(mirrored, source, target)[:-3], new[:-3].flip(0), atol=1e-4, rtol=1e-4
    )

    def turned(values: torch.Tensor, grid: tuple) -> torch.Tensor:
        axes = values[:-3].unflatten(0, (2 * grid[0] - 1, 2 * grid[1] - 1))
        return torch.cat([axes.transpose(0, 1).flatten(0, 1), values[-3:]])

    torch.testing.assert_close(
        resized(turned(table, source), source[::-1], target[::-1]),
        turned(new, target), atol=1e-4, rtol=1e-4,
    )  # fmt: skip
