"""Labels as colours, and the panel that shows them."""

import numpy as np
import pytest
from PIL import Image

from beit_mm.visualization import draw_segmentations, paint_labels

PALETTE = [[10, 200, 30], [250, 5, 120]]


@pytest.mark.parametrize('other', [2, 255, -1, -7])
def test_labels_take_their_classes_colours_and_others_are_transparent(other):
    labels = np.array([[0, 1, other], [1, 0, other]])
    first, second = ([*colour, 255] for colour in PALETTE)
    nothing = [0, 0, 0, 0]
    expected = [[first, second, nothing], [second, first, nothing]]
    np.testing.assert_array_equal(paint_labels(labels, PALETTE), expected)


def test_panel_shows_photo_above_truth_above_prediction(tmp_path):
    photos = [np.full((30, 40, 3), (90, 90, 200), dtype=np.uint8)] * 2
    truths = [np.zeros((30, 40), dtype=np.uint8)] * 2
    predictions = [np.ones((30, 40), dtype=np.uint8)] * 2
    path = tmp_path / 'panel.png'
    draw_segmentations(photos, truths, predictions, ('cat', 'dog'), PALETTE, path)
    pixels = np.asarray(Image.open(path).convert('RGB'))
    rows = []
    for colour in ((90, 90, 200), *PALETTE):
        found = np.argwhere((pixels == colour).all(axis=2))
        # More than the legend's patch has.
        assert len(found) > 5000
        rows.append(np.median(found[:, 0]))
    assert rows == sorted(rows)
