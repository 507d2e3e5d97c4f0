"""Neighbours beside scikit-learn's, and what their frames tell."""

import numpy as np
import torch
from matplotlib.colors import to_rgba
from sklearn.neighbors import NearestNeighbors

from beit_mm.visualization import most_alike, nearest_images, panel_of_neighbours


def test_neighbours_are_those_of_another_library():
    features, queries = torch.randn(50, 6) + 1, torch.randn(9, 6) + 1
    known = NearestNeighbors(n_neighbors=5, metric='cosine').fit(features.numpy())
    distances, expected = known.kneighbors(queries.numpy())
    nearest, cosines = most_alike(queries, features, 5)
    assert np.array_equal(nearest, expected)
    np.testing.assert_allclose(cosines, 1 - distances, atol=1e-6)
    # Without queries the library leaves each one out of its own.
    assert np.array_equal(nearest_images(features, range(50), 5), known.kneighbors()[1])


def test_only_what_is_there_is_left_out():
    features = torch.eye(4) + 0.1
    queries = features[[2, 3]]
    nearest, _ = most_alike(queries, features, 1, torch.tensor([-1, 3]))
    assert nearest[0, 0] == 2
    assert nearest[1, 0] != 3


def test_frames_tell_right_from_wrong_and_nothing_where_nobody_knows():
    picture = np.zeros((4, 4, 3), np.uint8)
    figure = panel_of_neighbours(
        [[picture] * 4] * 2, [['a', 'b', 'c', 'd']] * 2, [[None, True, False, None]] * 2
    )
    plain, right, wrong = (to_rgba(name) for name in ('black', 'tab:green', 'tab:red'))
    frames = [axis.spines['left'].get_edgecolor() for axis in figure.axes]
    assert frames == [plain, right, wrong, plain] * 2
    assert [axis.get_xlabel() for axis in figure.axes] == ['a', 'b', 'c', 'd'] * 2
    assert 'green' in figure.texts[0].get_text()
    assert not panel_of_neighbours([[picture] * 2]).texts
