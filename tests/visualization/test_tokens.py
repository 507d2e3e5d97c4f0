"""The contact sheet of codes: patches with what is around them, each in its place."""

import numpy as np

from beit_mm.visualization import CodeRow, Redrawn, draw_tokens, patches_around
from beit_mm.visualization.tokens import BEHIND, CELL, FRAME, GAP, OUTSIDE, THICK


def noise(*shape):
    return np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)


def test_a_patch_has_half_a_patch_around_it_and_grey_beyond_the_photo():
    photo = noise(12, 16)
    corner, inner = patches_around(photo, np.array([[0, 0], [1, 2]]), 4)
    np.testing.assert_array_equal(inner, photo[2:10, 6:14])
    np.testing.assert_array_equal(corner[2:, 2:], photo[:6, :6])
    assert (corner[:2] == OUTSIDE).all()
    assert (corner[:, :2] == OUTSIDE).all()
    assert patches_around(photo, np.zeros((0, 2), int), 4).shape == (0, 8, 8, 3)


def test_each_code_is_a_row_of_its_decoded_picture_and_its_patches():
    patches, decoded, times = noise(2, 3, 8, 8), noise(2, 4, 4), CELL // 8
    rows = [CodeRow(7, 0.5, patches[0], decoded[0]), CodeRow(2, 0.125, patches[1], decoded[1])]
    pictures = noise(2, 3, 8, 8)
    redrawn = [Redrawn('image', pictures[0]), Redrawn('most likely', pictures[1])]
    counts = np.array([0, 1, 0, 5, 2])
    figure = draw_tokens({'most used': rows, 'rare': []}, counts, 2.5, redrawn, 'title', 'wrong')
    axis = figure.axes[0]
    sheet = np.asarray(axis.images[0].get_array())
    told = [label.get_text() for label in axis.get_yticklabels()]
    assert told == ['7   50 %', '2   12 %']
    ring = slice(CELL // 4 - THICK, CELL - CELL // 4 + THICK)
    for number, row in enumerate(rows):
        line = sheet[number * (CELL + GAP) :][:CELL]
        np.testing.assert_array_equal(line[6:CELL:12, 6:CELL:12], row.decoded)
        for place, patch in enumerate(row.patches):
            cell = line[:, CELL + BEHIND + place * (CELL + GAP) :][:, :CELL]
            large = patch.repeat(times, axis=0).repeat(times, axis=1)
            framed = (cell == FRAME).all(axis=2)
            assert framed.sum() == (CELL // 2 + 2 * THICK) ** 2 - (CELL // 2) ** 2
            assert framed[ring, ring].sum() == framed.sum()
            np.testing.assert_array_equal(cell[~framed], large[~framed])
    use = next(axis for axis in figure.axes if axis.get_xlabel() == 'codes, most used first')
    np.testing.assert_allclose(use.lines[0].get_xydata(), [[1, 5 / 8], [2, 2 / 8], [3, 1 / 8]])
    assert use.get_title().startswith('3 of 5 codes in use, perplexity 2')
    shown = [a for a in figure.axes if a.images and a is not axis]
    drawn = [np.asarray(a.images[0].get_array()) for a in shown]
    np.testing.assert_array_equal(drawn, pictures.reshape(-1, 8, 8, 3))
    assert [a.get_ylabel() for a in shown[::3]] == ['image', 'most likely']
    assert [text.get_text() for text in figure.texts] == ['title', 'wrong']
