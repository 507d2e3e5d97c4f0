"""Relative tables and absolute positions as maps."""

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity

from beit_mm.relative_index import num_relative_positions, relative_position_index
from beit_mm.visualization import (
    draw_offset_maps,
    draw_similarities,
    offset_maps,
    position_similarities,
)


@pytest.mark.parametrize('grid', [(2, 3), (4, 4), (3, 1)])
def test_a_bias_is_shown_where_the_key_lies_from_the_query(grid):
    height, width = grid
    table = torch.randn(num_relative_positions(grid), 2)
    maps, of_s = offset_maps(table, grid)
    assert maps.shape == (2, 2 * height - 1, 2 * width - 1)
    bias = table[relative_position_index(grid)].numpy()
    for query in range(height * width):
        for key in range(height * width):
            dy, dx = key // width - query // width, key % width - query % width
            shown = maps[:, height - 1 + dy, width - 1 + dx]
            np.testing.assert_array_equal(shown, bias[1 + query, 1 + key])
    np.testing.assert_array_equal(of_s, np.stack([bias[0, 1], bias[1, 0], bias[0, 0]], axis=1))


def test_similarities_are_cosines():
    positions = torch.randn(1, 7, 5)
    similarities = position_similarities(positions, (2, 3))
    expected = cosine_similarity(positions[0, 1:].numpy())
    np.testing.assert_allclose(similarities.reshape(6, 6), expected, atol=1e-6)


@pytest.mark.parametrize('tables', [1, 3])
def test_each_map_is_drawn_in_its_place_with_its_middle_marked(tables):
    rng = np.random.default_rng(0)
    maps, of_s = rng.normal(size=(tables, 4, 3, 5)), rng.normal(size=(tables, 4, 3))
    figure = draw_offset_maps(maps.astype(np.float32), of_s.astype(np.float32))
    top = figure.axes[0]
    drawn, marks = np.asarray(top.images[0].get_array()), top.lines[0].get_xydata()
    assert len(marks) == tables * 4
    largest = np.abs(maps).max(axis=(1, 2, 3))
    for number, (x, y) in enumerate(marks.astype(int)):
        table, head = divmod(number, 4)
        around = drawn[y - 1 : y + 2, x - 2 : x + 3]
        np.testing.assert_allclose(around, maps[table, head] / largest[table], rtol=1e-5)
    below = np.asarray(figure.axes[1].images[0].get_array())
    if tables == 1:
        np.testing.assert_allclose(below, of_s[0].T, rtol=1e-6)
    else:
        parts = [below[:, begin : begin + 4] for begin in (0, 5, 10)]
        np.testing.assert_allclose(parts, np.moveaxis(of_s, 2, 0), rtol=1e-6)


def test_of_long_axes_some_positions_are_drawn():
    places = (np.arange(120, dtype=np.float32) / 120).reshape(40, 3)
    similarities = np.tile(places[..., None, None], (1, 1, 40, 3))
    axis = draw_similarities(similarities).axes[0]
    rows = [int(label.get_text()) for label in axis.get_yticklabels()]
    assert (rows[0], rows[-1], len(rows)) == (0, 39, 16)
    assert [label.get_text() for label in axis.get_xticklabels()] == ['0', '1', '2']
    drawn, middles = np.asarray(axis.images[0].get_array()), axis.get_yticks().astype(int)
    np.testing.assert_array_equal(drawn[middles][:, axis.get_xticks().astype(int)], places[rows])


def test_tables_that_have_not_learned_are_drawn_as_zeros():
    figure = draw_offset_maps(np.zeros((2, 3, 5, 5), np.float32), np.zeros((2, 3, 3), np.float32))
    top, below = figure.axes[:2]
    assert [label.get_text() for label in top.get_yticklabels()] == ['0  0', '1  0']
    assert below.images[0].get_clim() == (-1, 1)
