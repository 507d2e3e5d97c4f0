"""The relative position index against a naive loop and MMPretrain, and the bias it spells out."""

import pytest
import torch
from mmpretrain.models.backbones.beit import RelativePositionBias as SharedBiasOfMMPretrain
from mmpretrain.models.utils import BEiTAttention

from beit_mm.models.relative_position import (
    RelativePositionBias,
    num_relative_positions,
    relative_position_index,
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


def random_bias(grid, num_heads=3):
    module = RelativePositionBias(grid, num_heads)
    torch.nn.init.normal_(module.table, generator=torch.Generator().manual_seed(0))
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
    bias = module(grid)
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
    assert module((3, 5)).equal(peer())


def test_gradient_of_a_row_is_the_number_of_pairs_that_use_it():
    module = random_bias((3, 5))
    module((3, 5)).sum().backward()
    uses = torch.bincount(torch.tensor(naive_index(3, 5)).flatten())
    assert module.table.grad.equal(uses[:, None].expand(-1, 3).float())


def test_the_table_starts_at_zero_and_the_index_is_not_saved():
    module = RelativePositionBias((3, 5), 3)
    assert module.table.abs().max() == 0
    assert list(module.state_dict()) == ['table']


@pytest.mark.parametrize('grid', [(5, 3), (3, 4), (15, 1), (4, 5)])
def test_another_grid_is_refused_by_its_numbers(grid):
    module = RelativePositionBias((3, 5), 3)
    with pytest.raises(ValueError, match=rf'3 x 5 patches.*{grid[0]} x {grid[1]}.*img_size'):
        module(grid)


def test_a_list_serves_as_a_grid():
    # Configs read from JSON or YAML give lists where Python gives tuples.
    assert RelativePositionBias([3, 5], 3)([3, 5]).shape == (3, 16, 16)
