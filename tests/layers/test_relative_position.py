"""The relative position index, the bias it spells out, and how tables serve other grids.

The index is held against a naive loop and MMPretrain, resized tables against SciPy.
"""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmpretrain.models.backbones.beit import RelativePositionBias as SharedBiasOfMMPretrain
from mmpretrain.models.utils import BEiTAttention
from scipy.interpolate import make_interp_spline
from scipy.optimize import brentq

from beit_mm.layers import relative_position
from beit_mm.layers.kept_in_eval import KeptInEval
from beit_mm.layers.relative_position import RelativePositionBias, relative_positions
from beit_mm.layers.resize_positions import (
    cubic_spline_matrix,
    geometric_coordinates,
    resize_relative_table,
)
from beit_mm.relative_index import (
    grid_of_index,
    num_relative_positions,
    relative_position_index,
    square_grid,
)

GRIDS = [(4, 4), (3, 5), (5, 2), (1, 4), (1, 1)]


def naive_index(height, width):
    """FACTS of the released weights, one pair of positions at a time."""
    places = [None, *((y, x) for y in range(height) for x in range(width))]
    patch_rows = (2 * height - 1) * (2 * width - 1)
    index = []
    for query in places:
        row = []
        for key in places:
            if query is None and key is None:
                row.append(patch_rows + 2)
            elif query is None:
                row.append(patch_rows)
            elif key is None:
                row.append(patch_rows + 1)
            else:
                dy, dx = query[0] - key[0], query[1] - key[1]
                row.append((dy + height - 1) * (2 * width - 1) + dx + width - 1)
        index.append(row)
    return index


def positions_for(source, target=None):
    return relative_positions(source, target or source, torch.device('cpu'))


def random_bias(grid, num_heads=3):
    module = RelativePositionBias(grid, num_heads)
    # nn.init.normal_ takes no generator in torch 2.1.
    module.table.data.normal_(generator=torch.Generator().manual_seed(0))
    return module


@pytest.mark.parametrize('grid', GRIDS)
def test_index_equals_a_naive_double_loop(grid):
    index = relative_position_index(grid)
    assert index.dtype == torch.int64
    assert index.tolist() == naive_index(*grid)


@pytest.mark.parametrize('grid', GRIDS)
def test_index_equals_mmpretrains(grid):
    peer = BEiTAttention(embed_dims=12, num_heads=3, window_size=grid, use_rel_pos_bias=True)
    assert relative_position_index(grid).equal(peer.relative_position_index)
    assert num_relative_positions(grid) == len(peer.relative_position_bias_table)


@pytest.mark.parametrize('grid', GRIDS)
def test_index_uses_every_row_of_the_table(grid):
    rows = relative_position_index(grid).unique().tolist()
    if grid == (1, 1):
        assert rows == [0, 1, 2, 3]
    assert rows == list(range(num_relative_positions(grid)))


@pytest.mark.parametrize('grid', GRIDS)
def test_bias_matrix_is_a_lookup_in_the_table(grid):
    module = random_bias(grid)
    bias = module(positions_for(grid))
    index = naive_index(*grid)
    assert bias.shape == (3, len(index), len(index))
    for head in range(3):
        for query, row in enumerate(index):
            for key, place in enumerate(row):
                assert bias[head, query, key] == module.table[place, head]


def test_bias_matrix_equals_mmpretrains_shared_one():
    module = random_bias((3, 5))
    peer = SharedBiasOfMMPretrain(window_size=(3, 5), num_heads=3)
    with torch.no_grad():
        peer.relative_position_bias_table.copy_(module.table)
    assert module(positions_for((3, 5))).equal(peer())


def test_gradient_of_a_row_is_the_number_of_pairs_that_use_it():
    module = random_bias((3, 5))
    module(positions_for((3, 5))).sum().backward()
    uses = torch.bincount(torch.tensor(naive_index(3, 5)).flatten())
    assert module.table.grad.equal(uses[:, None].expand(-1, 3).float())


def test_the_table_starts_at_zero_and_the_index_is_not_saved():
    module = RelativePositionBias((3, 5), 3)
    assert module.table.abs().max() == 0
    assert list(module.state_dict()) == ['table']


def test_a_list_serves_as_a_grid():
    # Configs read from JSON or YAML give lists where Python gives tuples.
    module = RelativePositionBias([3, 5], 3)
    assert module(positions_for([3, 5])).shape == (3, 16, 16)
    assert module(positions_for([3, 5], [2, 4])).shape == (3, 9, 9)


@pytest.mark.parametrize('grid', [*GRIDS, (2, 6), (6, 2)])
def test_the_grid_of_an_index_is_told_from_its_numbers(grid):
    assert grid_of_index(relative_position_index(grid)) == grid


def test_what_is_no_index_has_no_grid():
    index = relative_position_index((3, 5))
    damaged = index.clone()
    damaged[4, 7] += 1
    for other in (damaged, index[1:, 1:], index[:, 1:], index.flatten(), index + 1):
        assert grid_of_index(other) is None


def test_only_square_grids_are_told_from_the_number_of_rows():
    squares = {(2 * side - 1) ** 2 + 3: (side, side) for side in range(1, 20)}
    for rows in range(-1, 1500):
        assert square_grid(rows) == squares.get(rows), rows


# --- coordinates and spline -------------------------------------------------------------------


@pytest.mark.parametrize(
    ('source', 'target'), [(27, 47), (27, 63), (27, 79), (27, 31), (11, 15), (5, 6)]
)
def test_coordinates_grow_by_one_ratio_until_they_span_the_target(source, target):
    points = geometric_coordinates(source, target)
    assert points.shape == (source,)
    assert points.dtype == np.float64
    assert points[source // 2] == 0
    assert np.array_equal(points, -points[::-1])
    steps = np.diff(points)[source // 2 :]
    assert (steps > 0).all()
    assert steps[0] == 1
    ratios = steps[1:] / steps[:-1]
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-9)
    if source != 5:
        assert 1.01 < ratios[0] < 1.5
        assert points[-1] == pytest.approx(target // 2, abs=1e-3)


@pytest.mark.parametrize(('target', 'ratio'), [(19, 1.01), (27, 1.01), (3001, 1.5)])
def test_the_ratio_stays_within_the_released_codes_limits(target, ratio):
    expected = sum(ratio**i for i in range(13))
    assert geometric_coordinates(27, target)[-1] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize('count', [4, 5, 9, 27])
def test_spline_matrix_equals_scipys(count):
    rng = np.random.default_rng(count)
    points = np.cumsum(rng.uniform(0.2, 3, count)) - 7
    queries = np.concatenate([points, rng.uniform(points[0], points[-1], 50)])
    values = rng.standard_normal((count, 3))
    expected = make_interp_spline(points, values, k=3)(queries)
    matrix = cubic_spline_matrix(points, queries)
    assert matrix.shape == (len(queries), count)
    np.testing.assert_allclose(matrix @ values, expected, rtol=0, atol=1e-9)
    np.testing.assert_allclose(matrix[:count], np.eye(count), rtol=0, atol=1e-12)


@pytest.mark.parametrize('count', [1, 2, 3, 4, 5, 12])
def test_spline_is_exact_for_polynomials_that_it_can_hold(count):
    rng = np.random.default_rng(count)
    points = np.cumsum(rng.uniform(0.5, 1.5, count)) - 4
    queries = rng.uniform(points[0], points[-1], 20)
    for degree in range(min(count, 4)):
        polynomial = np.polynomial.Polynomial(rng.standard_normal(degree + 1))
        interpolated = cubic_spline_matrix(points, queries) @ polynomial(points)
        np.testing.assert_allclose(interpolated, polynomial(queries), rtol=0, atol=1e-9)


@pytest.mark.parametrize('count', [1, 2, 3, 4, 9])
def test_spline_keeps_the_end_values_beyond_the_ends(count):
    points = np.arange(count) ** 1.3 - 2
    values = np.random.default_rng(0).standard_normal(count)
    queries = np.array([points[0] - 100, points[0] - 1e-3, points[-1] + 1e-3, points[-1] + 100])
    expected = values[[0, 0, -1, -1]]
    matrix = cubic_spline_matrix(points, queries)
    np.testing.assert_allclose(matrix @ values, expected, rtol=0, atol=1e-12)


# --- resized tables ---------------------------------------------------------------------------


def resized(module, source, target):
    return resize_relative_table(module.table, positions_for(source, target).resize)


@pytest.mark.parametrize('side', [24, 32, 40, 10])
def test_resized_tables_equal_the_released_codes(side):
    # See data/make_interp2d_tables.py: these need a SciPy that still has interp2d.
    with np.load(Path(__file__).parent / 'data/interp2d_tables.npz') as tables:
        table, expected = (torch.from_numpy(tables[name]) for name in ('table', f'to_{side}'))
    assert table.abs().max() > 1
    matrices = positions_for((14, 14), (side, side)).resize
    output = resize_relative_table(table, matrices)
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-4)


def splined_rows(rows, target):
    """(n, 2 w - 1) rows of offsets -> (n, 2 target - 1), one SciPy spline a row."""
    half = rows.shape[1] // 2
    ratio = brentq(lambda q: (1 - q**half) / (1 - q) - (target - 1), 1.01, 1.5, xtol=1e-13)
    distances = [sum(ratio**i for i in range(k)) for k in range(1, half + 1)]
    points = [*(-d for d in reversed(distances)), 0.0, *distances]
    queries = np.clip(np.arange(1 - target, target), points[0], points[-1])
    return np.stack([make_interp_spline(points, row, k=3)(queries) for row in rows])


@pytest.mark.parametrize('axis', [0, 1])
def test_an_axis_of_the_same_length_is_left_alone(axis):
    module = random_bias((14, 14))
    target = (20, 14) if axis == 0 else (14, 20)
    output = resized(module, (14, 14), target).detach()
    for head in range(3):
        grid = module.table[:-3, head].detach().double().view(27, 27).numpy()
        rows = grid if axis else grid.T
        expected = splined_rows(rows, 20)
        expected = expected if axis else expected.T
        got = output[:-3, head].view(2 * target[0] - 1, 2 * target[1] - 1)
        np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-4)
    # Exactly alone: what one row holds does not reach another, not even in the last bit.
    changed = random_bias((14, 14))
    with torch.no_grad():
        view = changed.table[:-3].view(27, 27, 3)
        view.select(1 - axis, 5).mul_(1000)
    difference = resized(changed, (14, 14), target).detach() != output
    difference = difference[:-3].view(2 * target[0] - 1, 2 * target[1] - 1, 3)
    touched = difference.flatten(2).any(2).any(axis)
    assert touched.nonzero().flatten().tolist() == [5]


def test_a_table_for_the_same_grid_is_not_resampled_at_all():
    module = random_bias((14, 14))
    assert positions_for((14, 14)).resize is None
    matrices = (
        positions_for((14, 14), (14, 20)).resize[0],
        positions_for((14, 14), (9, 14)).resize[1],
    )
    assert resize_relative_table(module.table, matrices).equal(module.table)


@pytest.mark.parametrize('target', [(6, 4), (3, 9), (4, 4), (1, 1), (8, 1)])
def test_each_axis_is_resampled_on_its_own(target):
    # Of a product of a row and a column, the resized table is the product of both, resized.
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.randn(9, generator=generator), torch.randn(7, generator=generator)
    module = RelativePositionBias((5, 4), 1)
    with torch.no_grad():
        module.table[:-3, 0] = torch.outer(rows, columns).flatten()
    output = resized(module, (5, 4), target)[:-3, 0].detach()

    def alone(values, source, side):
        if source == side:
            return values.double().numpy()
        points = geometric_coordinates(2 * source - 1, 2 * side - 1)
        queries = np.clip(np.arange(1 - side, side), points[0], points[-1])
        return make_interp_spline(points, values.double().numpy(), k=3)(queries)

    expected = np.outer(alone(rows, 5, target[0]), alone(columns, 4, target[1]))
    got = output.view(2 * target[0] - 1, 2 * target[1] - 1).numpy()
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize('source', [(1, 1), (1, 5), (2, 2), (2, 1)])
@pytest.mark.parametrize('target', [(1, 1), (4, 3), (2, 7)])
def test_tables_of_few_entries_are_resampled_too(source, target):
    # A table of one value for all offsets is the same at every size.
    module = RelativePositionBias(source, 2)
    with torch.no_grad():
        module.table.copy_(torch.tensor([0.5, -2.0]))
    bias = module(positions_for(source, target))
    length = 1 + target[0] * target[1]
    expected = torch.tensor([0.5, -2.0])[:, None, None].expand(2, length, length)
    torch.testing.assert_close(bias, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize('target', [(6, 7), (2, 3), (3, 8)])
def test_resizing_keeps_the_rows_of_the_class_token_and_is_differentiable(target):
    module = random_bias((3, 5), num_heads=2)
    output = resized(module, (3, 5), target)
    assert output.shape == (num_relative_positions(target), 2)
    assert output[-3:].equal(module.table[-3:])

    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    (output * weights).sum().backward()
    assert module.table.grad[-3:].equal(weights[-3:])
    # Resizing is linear, so that the difference quotient is exact for a step of any length.
    with torch.no_grad():
        for row in range(0, len(module.table), 4):
            for head in range(2):
                value = module.table[row, head].item()
                outputs = []
                for step in (1, -1):
                    module.table[row, head] = value + step
                    outputs.append(resized(module, (3, 5), target).double())
                module.table[row, head] = value
                slope = ((outputs[0] - outputs[1]) / 2 * weights).sum().item()
                assert module.table.grad[row, head].item() == pytest.approx(slope, abs=2e-5)


def test_resizing_is_done_in_single_precision_whatever_surrounds_it():
    module = random_bias((3, 5))
    expected = resized(module, (3, 5), (6, 7))
    with torch.autocast('cpu', torch.bfloat16):
        assert resized(module, (3, 5), (6, 7)).equal(expected)
    rounded = random_bias((3, 5)).bfloat16()
    assert resized(rounded, (3, 5), (6, 7)).dtype == torch.bfloat16
    exact = copy.deepcopy(rounded).float()
    assert resized(rounded, (3, 5), (6, 7)).equal(resized(exact, (3, 5), (6, 7)).bfloat16())


def test_bias_for_another_grid_is_a_lookup_in_the_resized_table():
    module = random_bias((3, 5))
    table = resized(module, (3, 5), (4, 2))
    bias = module(positions_for((3, 5), (4, 2)))
    index = torch.tensor(naive_index(4, 2))
    for head in range(3):
        assert bias[head].equal(table[index, head])


# --- what is kept in evaluation ---------------------------------------------------------------

OTHER = positions_for((3, 5), (4, 7))


@pytest.fixture
def resizings(monkeypatch):
    """A list that grows by one with each resized table."""
    calls = []

    def counted(table, matrices):
        calls.append(tuple(matrix.shape[0] for matrix in matrices))
        return resize_relative_table(table, matrices)

    monkeypatch.setattr(relative_position, 'resize_relative_table', counted)
    return calls


def fresh_bias(module, positions=OTHER):
    """What a module that has kept nothing gives."""
    other = RelativePositionBias((3, 5), 3).to(module.table.dtype)
    other.load_state_dict(module.state_dict())
    return other(positions).detach()


@pytest.mark.parametrize('context', [torch.no_grad, torch.inference_mode])
def test_evaluation_resizes_a_table_once_a_size(resizings, context):
    module = random_bias((3, 5)).eval()
    third = positions_for((3, 5), (7, 4))
    with context():
        first = module(OTHER)
        assert module(OTHER).equal(first)
        assert module(third).shape == first.shape
        assert module(OTHER).equal(first)
        module(positions_for((3, 5)))
    assert resizings == [(7, 13), (13, 7)]


def test_with_gradients_every_pass_resizes_anew_and_has_its_own_graph(resizings):
    module = random_bias((3, 5)).train()
    with torch.no_grad():
        module(OTHER)
    gradients = []
    for _ in range(2):
        module.table.grad = None
        module(OTHER).square().sum().backward()
        gradients.append(module.table.grad)
    assert len(resizings) == 3
    assert gradients[0].abs().max() > 0
    assert gradients[0].equal(gradients[1])


def test_inference_mode_leaves_nothing_that_training_cannot_use():
    # A size that no other test has asked for: its matrices are made in inference mode.
    module = random_bias((3, 5))
    with torch.inference_mode():
        positions = positions_for((3, 5), (9, 11))
        inferred = module.eval()(positions)
    for training in (False, True):
        output = module.train(training)(positions_for((3, 5), (9, 11)))
        assert output.equal(inferred)
        output.square().sum().backward()
    assert module.table.grad.abs().max() > 0
    with torch.no_grad():
        assert module.eval()(positions).equal(inferred)


def step_of_an_optimizer(module):
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    module(OTHER).square().sum().backward()
    optimizer.step()


def weights_loaded(module, **options):
    state = {'table': torch.randn(48, 3, generator=torch.Generator().manual_seed(8))}
    module.load_state_dict(state, **options)


def data_written(module, mode):
    # As mmengine's EMA hook does, which no version counter sees.
    module.table.data.copy_(torch.randn(48, 3, generator=torch.Generator().manual_seed(8)))
    module.train(mode)


CHANGES = {
    'optimizer step': step_of_an_optimizer,
    'load_state_dict': weights_loaded,
    'load_state_dict by assignment': lambda module: weights_loaded(module, assign=True),
    'data written, then eval()': lambda module: data_written(module, False),
    'data written, then train()': lambda module: data_written(module, True),
    'data exchanged': lambda module: setattr(module.table, 'data', module.table.data * 2),
    'in place': lambda module: torch.nn.init.ones_(module.table),
    'float64': lambda module: module.double(),
    'bfloat16': lambda module: module.bfloat16(),
}


@pytest.mark.parametrize('change', CHANGES)
@pytest.mark.parametrize('context', [torch.no_grad, torch.inference_mode])
def test_changed_weights_give_a_changed_bias(change, context):
    module = random_bias((3, 5)).eval()
    with context():
        before = module(OTHER)
    CHANGES[change](module)
    with context():
        after = module(OTHER)
        assert module(OTHER).equal(after)
    assert after.dtype == module.table.dtype
    assert after.equal(fresh_bias(module))
    # More digits make no other values, and the rest must differ for the test to mean anything.
    assert after.equal(before.double()) if change == 'float64' else not after.equal(before)


def test_a_copy_has_its_own_bias():
    module = random_bias((3, 5)).eval()
    with torch.no_grad():
        before = module(OTHER)
        other = copy.deepcopy(module)
        other.table.mul_(2)
        torch.testing.assert_close(other(OTHER), 2 * before)
        assert module(OTHER).equal(before)
    assert list(module.state_dict()) == ['table']


def test_only_so_many_grids_are_kept_the_oldest_go_first():
    kept, table, made = KeptInEval(limit=2), torch.zeros(3), []

    def result_for(grid):
        return kept.get(table, grid, lambda: made.append(grid) or torch.tensor(grid))

    with torch.no_grad():
        for grid in [(1, 1), (2, 2), (1, 1), (3, 3), (2, 2), (1, 1)]:
            assert result_for(grid).tolist() == list(grid)
    assert made == [(1, 1), (2, 2), (3, 3), (1, 1)]
