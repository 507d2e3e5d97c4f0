"""Maps over photos: each in its place, bright where it is high."""

import numpy as np

from beit_mm.visualization import draw_attention, draw_distances, draw_rollouts, overlay
from beit_mm.visualization.attention_overlays import Row
from beit_mm.visualization.mosaics import GAP, SIDE

GREY = np.full((48, 48, 3), 128, np.uint8)


def one_hot(row, column, shape=(3, 4)):
    heat = np.zeros(shape, np.float32)
    heat[row, column] = 1
    return heat


def brightest(picture):
    """The patch of 3 x 4 whose middle is brightest, by all bands."""
    bright, (height, width) = picture.sum(axis=-1, dtype=float), picture.shape[:2]
    middles = bright[height // 6 :: height // 3, width // 8 :: width // 4][:3, :4]
    return tuple(int(n) for n in np.unravel_index(middles.argmax(), (3, 4)))


def test_an_overlay_is_bright_where_the_map_is_high_and_dark_elsewhere():
    drawn = overlay(GREY, one_hot(2, 1))
    assert drawn.shape == GREY.shape
    assert brightest(drawn) == (2, 1)
    assert drawn[:16].max() < GREY.max() / 2
    # Nothing anywhere is dark everywhere; what is alike everywhere is bright, from its own low on
    # dark.
    assert overlay(GREY, np.zeros((3, 4), np.float32)).max() < 64
    alike = np.full((3, 4), 0.1, np.float32)
    assert overlay(GREY, alike).max() > 192
    assert overlay(GREY, alike, low=0.1).max() < 64


def test_one_patch_far_above_the_others_does_not_darken_them():
    heat = np.tile(np.linspace(0, 1, 20, dtype=np.float32), (20, 1))
    expected = overlay(GREY, heat)
    heat[0, 0] = 100
    np.testing.assert_allclose(overlay(GREY, heat)[6:, 6:], expected[6:, 6:], atol=3)
    # All but the very largest values are told apart.
    bright = expected.sum(axis=-1, dtype=float)[24]
    assert (np.diff(bright[bright.argmax() // 4 : -3]) > 0).all()


def test_each_map_is_drawn_in_its_panel_with_its_query_marked():
    places = [[(0, 0), (1, 3)], [(2, 2), (0, 1)]]
    points = [(0.99, 0.4), None]
    rows = [
        Row(
            'a/long/name_of_an_image.png',
            GREY,
            np.stack([one_hot(*place) for place in row]),
            points,
        )
        for row in places
    ]
    axis = draw_attention(rows, ['one', 'two'], 'title').axes[0]
    drawn = np.asarray(axis.images[0].get_array())
    assert [label.get_text() for label in axis.get_xticklabels()] == ['image', 'one', 'two']
    # Of a long name its end.
    assert {label.get_text() for label in axis.get_yticklabels()} == {'…f_an_image.png'}
    for row in range(2):
        for column in range(2):
            y, x = row * (SIDE + GAP), (1 + column) * (SIDE + GAP)
            assert brightest(drawn[y : y + SIDE, x : x + SIDE]) == places[row][column]
    # The point lies in the last row and the second column of patches; [S] has no place.
    marks = sorted((float(line.get_ydata()[0]), float(line.get_xdata()[0])) for line in axis.lines)
    of_patch = (SIDE - 1) / 2 + SIDE / 3, (SIDE - 1) / 2 - SIDE / 8
    expected = [
        (of_patch[0] + row * (SIDE + GAP), of_patch[1] + column * (SIDE + GAP))
        for row in range(2)
        for column in range(2)
    ]
    np.testing.assert_allclose(marks, expected)


def test_rollouts_stand_beside_their_photos_and_gaps_are_white():
    maps = np.stack([one_hot(0, 3), *[one_hot(1, 0)] * 3, one_hot(2, 2)])
    axis = draw_rollouts(np.stack([GREY] * 5), maps).axes[0]
    drawn = np.asarray(axis.images[0].get_array())
    step = SIDE + GAP
    assert drawn.shape == (2 * step - GAP, 8 * step - GAP, 3)
    assert brightest(drawn[step:, step : step + SIDE]) == (2, 2)
    assert brightest(drawn[:SIDE, step : step + SIDE]) == (0, 3)
    assert (drawn[step:, :SIDE] == 128).all()
    assert (drawn[step:, 2 * step :] == 255).all()
    above = np.asarray(
        draw_rollouts(np.stack([GREY] * 5), 0.5 * maps + 3).axes[0].images[0].get_array()
    )
    np.testing.assert_allclose(above.astype(int), drawn, atol=1)


def test_a_dot_is_a_head_at_its_block():
    distances = np.array([[1.0, 2.0], [3.0, 5.0], [4.0, 4.5]])
    axis = draw_distances(distances, 6.0, 'title').axes[0]
    dots = axis.collections[0].get_offsets()
    np.testing.assert_array_equal(dots, [[0, 1], [0, 2], [1, 3], [1, 5], [2, 4], [2, 4.5]])
    dashed, mean = axis.lines
    assert set(dashed.get_ydata()) == {6.0}
    np.testing.assert_array_equal(mean.get_xydata(), [[0, 1.5], [1, 4], [2, 4.25]])
    assert axis.get_ylim()[0] == 0
    assert axis.get_ylim()[1] > 6
    # One lone patch looks nowhere.
    assert draw_distances(np.zeros((2, 3)), 0.0, 'title').axes[0].get_ylim() == (0, 1)
