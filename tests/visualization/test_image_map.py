"""A map of images: no pictures overlap, and all lie where they belong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from beit_mm.visualization import cells_of, draw_image_map

# Whole numbers: many images at one place, whole maps in a line or at a point.
POINTS = st.integers(1, 60).flatmap(
    lambda count: arrays(np.float64, (count, 2), elements=st.integers(-9, 9).map(float))
)


@settings(deadline=None)
@given(POINTS, st.integers(1, 8))
def test_a_cell_has_one_picture_and_it_is_of_an_image_there(points, cells):
    chosen, places = cells_of(points, cells)
    assert len({*map(tuple, places)}) == len(places) <= cells**2
    assert len({*chosen}) == len(chosen)
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    edges = low + span * np.arange(cells + 1)[:, None] / cells
    # A naive search: in which cell each image lies, and who is nearest to its middle.
    inside = np.stack(
        [np.searchsorted(edges[1:-1, axis] - 1e-9, points[:, axis], 'right') for axis in (0, 1)], 1
    )
    inside[:, span == 0] = 0
    assert {*map(tuple, inside)} == {*map(tuple, places)}
    for image, place in zip(chosen, places, strict=True):
        assert tuple(inside[image]) == tuple(place)
        middle = low + span * (place + 0.5) / cells
        there = points[(inside == place).all(axis=1)]
        scale = np.where(span, span, 1)
        off = np.abs((there - middle) / scale)
        assert (
            np.square((points[image] - middle) / scale).sum() <= np.square(off).sum(1).min() + 1e-9
        )


def canvas_and_legend(labels):
    """The canvas of three pictures of grey 1, 2, 3 on a diagonal, and the names in the legend."""
    points = np.array([[0.0, 0], [1, 1], [2, 2]])
    chosen, places = cells_of(points, 3)
    pictures = [np.full((8, 6, 3), grey, np.uint8) for grey in (1, 2, 3)]
    figure = draw_image_map(points, labels, chosen, pictures, places, 3, 'a map')
    figure.canvas.draw()
    legend = figure.axes[-1].get_legend()
    return figure.axes[0].images[0].get_array(), legend and [t.get_text() for t in legend.texts]


def test_pictures_lie_in_their_cells_in_frames_of_their_class():
    canvas, legend = canvas_and_legend(['cat' * 10, 'dog', ''])
    assert legend == ['cat' * 7 + 'ca…', 'dog', 'no class']
    edge = len(canvas) // 3
    for index in range(3):
        # The least coordinates are at the bottom left.
        cell = canvas[(2 - index) * edge :][:edge, index * edge :][:, :edge]
        assert (cell == index + 1).all(axis=-1).sum() == 48
        rest = cell[0, 0]
        assert (rest == 255).all() == (index == 2)
    assert not np.array_equal(canvas[2 * edge, 0], canvas[edge, edge])


def test_without_classes_there_is_the_map_alone():
    assert canvas_and_legend(['', '', ''])[1] is None


@pytest.mark.parametrize(('classes', 'others'), [(10, 0), (20, 0), (25, 5)])
def test_the_commonest_classes_are_named(classes, others):
    labels = [f'class {index}' for index in range(classes) for _ in range(index + 1)]
    points = np.random.default_rng(0).random((len(labels), 2))
    chosen, places = cells_of(points, 2)
    pictures = [np.zeros((4, 4, 3), np.uint8)] * len(chosen)
    figure = draw_image_map(points, labels, chosen, pictures, places, 2, '')
    named = [text.get_text() for text in figure.axes[1].get_legend().texts]
    assert named[: classes - others] == [f'class {index}' for index in range(others, classes)]
    assert named[classes - others :] == ([f'{others} other classes'] if others else [])
    colors = [tuple(dots.get_facecolor()[0]) for dots in figure.axes[1].collections]
    assert len({*colors}) == len(colors)
