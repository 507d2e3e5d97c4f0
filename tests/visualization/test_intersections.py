"""IoU beside MMSegmentation's, and pictures of masks."""

import matplotlib.image
import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric

from beit_mm.visualization import (
    count_pixels,
    draw_segmentation_look,
    draw_segmentations,
    intersection_over_union,
    overlay_labels,
    paint_errors,
    paint_labels,
)
from beit_mm.visualization.segmentations import RIGHT, WRONG


def test_iou_is_mmsegmentations():
    rng = np.random.default_rng(0)
    classes, parts, counts = 6, [], np.zeros((6, 6), dtype=np.int64)
    for _ in range(3):
        # Class 4 is nowhere.
        truth = rng.choice([0, 1, 2, 3, 5, 255], (20, 30)).astype(np.uint8)
        prediction = np.where(rng.random((20, 30)) < 0.5, truth, rng.choice([0, 1, 2, 3], (20, 30)))
        prediction[prediction == 255] = 5
        counts += count_pixels(truth, prediction, classes)
        parts.append(
            IoUMetric.intersect_and_union(
                torch.tensor(prediction), torch.tensor(truth), classes, 255
            )
        )
    areas = [sum(part) for part in zip(*parts, strict=True)]
    expected = IoUMetric.total_area_to_metrics(*areas)
    np.testing.assert_allclose(intersection_over_union(counts), expected['IoU'])
    assert np.isnan(expected['IoU'][4])
    assert counts.trace() / counts.sum() == pytest.approx(float(expected['aAcc']))


def test_iou_of_a_case_made_by_hand():
    truth = np.array([[0, 0, 1, 1], [255, -1, 1, 7]])
    prediction = np.array([[0, 1, 1, 1], [0, 1, 0, 1]])
    counts = count_pixels(truth, prediction, 3)
    assert counts.tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    np.testing.assert_allclose(intersection_over_union(counts), [1 / 3, 2 / 4, np.nan])


def test_ignored_pixels_are_neither_right_nor_wrong():
    truth, prediction = np.array([[0, 1, 255, -1]]), np.array([[0, 0, 0, 0]])
    right, wrong, *ignored = paint_errors(truth, prediction, 2)[0]
    assert right.tolist() == [*RIGHT, 255]
    assert wrong.tolist() == [*WRONG, 255]
    assert all(pixel[3] == 0 for pixel in ignored)


def test_unlabelled_is_told_from_a_class_that_is_painted_black(tmp_path):
    photos = [np.full((60, 60, 3), 128, np.uint8)]
    black, unlabelled = np.zeros((60, 60), np.uint8), np.full((60, 60), 255, np.uint8)
    pictures = []
    for number, truth in enumerate((black, unlabelled)):
        path = tmp_path / f'{number}.png'
        draw_segmentations(photos, [truth], [black], ['sky'], [[0, 0, 0]], path)
        pictures.append((matplotlib.image.imread(path)[..., :3] == 0).all(axis=2).mean())
    # The truth is drawn as large as the prediction, which is black in both.
    assert pictures[1] < 0.6 * pictures[0]


def test_an_overlay_lets_the_photo_through_and_leaves_unlabelled_as_it_is():
    photo = np.random.default_rng(0).integers(0, 256, (1, 3, 3), dtype=np.uint8)
    mixed = overlay_labels(photo, np.array([[0, 1, 255]]), [[0, 0, 0], [200, 100, 0]])
    np.testing.assert_array_equal(mixed[0, 2], photo[0, 2])
    expected = 0.55 * np.array([200, 100, 0]) + 0.45 * photo[0, 1].astype(float)
    np.testing.assert_allclose(mixed[0, 1], expected, atol=0.51)


@pytest.mark.parametrize('count', [1, 3])
def test_each_picture_stands_where_it_is_named(count):
    names, palette = [f'class {n}' for n in range(70)], [[n, 2 * n, 255 - n] for n in range(70)]
    photos = [np.full((2, 3, 3), 9 * n, np.uint8) for n in range(count)]
    truths = [np.array([[n, 65, 255], [n, n, n]]) for n in range(count)]
    predictions = [np.array([[n, 1, 1], [1, 1, n]]) for n in range(count)]
    figure = draw_segmentation_look(photos, predictions, truths, names, palette, None, 'title')
    found, kind = {}, ''
    for axis in figure.axes:
        # Down or across, and what follows the first of a kind is of the same kind.
        kind = axis.get_title() or axis.get_ylabel() or kind
        found.setdefault(kind, []).append(np.asarray(axis.images[0].get_array()))
    expected = {
        'photo': photos,
        'truth': [paint_labels(truth, palette) for truth in truths],
        'prediction': [paint_labels(prediction, palette) for prediction in predictions],
        'errors': [paint_errors(*pair, 70) for pair in zip(truths, predictions, strict=True)],
        'overlay': [overlay_labels(*p, palette) for p in zip(photos, predictions, strict=True)],
    }
    assert [*found] == [*expected]
    for kind, pictures in expected.items():
        np.testing.assert_array_equal(found[kind], pictures)
    # Of many classes those that are seen.
    named = [text.get_text() for text in figure.legends[0].texts]
    there = sorted({0, 1, 65, *range(count)})
    assert named == [*(names[n] for n in there), 'unlabelled', 'right', 'wrong']


@pytest.mark.parametrize('classes', [2, 60])
def test_bars_are_of_the_classes_that_are_there_the_best_on_top(classes):
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.fill_diagonal(counts[: classes - 1, : classes - 1], np.arange(1, classes))
    counts[:-1, 0] += 3
    names = [f'class {n}' for n in range(classes)]
    palette = [[n, 2 * n, 255 - n] for n in range(classes)]
    labels = [np.zeros((8, 9), np.int32)]
    figure = draw_segmentation_look(
        [np.zeros((8, 9, 3), np.uint8)], labels, labels, names, palette, counts, 'title'
    )
    axis = next(axis for axis in figure.axes if axis.get_xlabel().startswith('intersection'))
    widths = [bar.get_width() for bar in axis.patches]
    shown = [label.get_text() for label in axis.get_yticklabels()]
    assert widths == sorted(widths)
    assert f'class {classes - 1}' not in shown
    assert len(shown) == len(widths) == min(classes - 1, 40)
    best = np.nanargmax(intersection_over_union(counts))
    assert shown[-1] == names[best]
    ious = intersection_over_union(counts)
    for bar, name, text in zip(axis.patches, shown, axis.texts, strict=True):
        index = names.index(name)
        assert bar.get_width() == pytest.approx(100 * ious[index])
        np.testing.assert_allclose(bar.get_facecolor()[:3], np.divide(palette[index], 255))
        share = 100 * counts[index].sum() / counts.sum()
        assert text.get_text() == f'{100 * ious[index]:.1f}   ({share:.2g} % of the pixels)'
    assert '1 in none of the images' in axis.get_title()
