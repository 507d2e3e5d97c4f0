"""How well each class of a segmentation is found: intersection over union."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .confusions import confusion_matrix
from .segmentations import draw_rows, labels_in, overlay_labels, paint_errors, paint_labels

# Bars; of more classes the best and the worst are shown.
MOST_BARS = 40
# Inches of a picture; up to so many photos there is a row for each, of larger ones.
EDGE, LARGE_EDGE, FEW = 1.5, 2.2, 2


def count_pixels(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """How many pixels of each class (rows) are taken for each class (columns).

    Args:
        truth: (H, W) integers; labels that are no class, such as 255, count nowhere.
        prediction: (H, W) integers in [0, C).
        classes: C.

    Returns:
        (C, C) int64; those of several images add up.
    """
    counted = (truth >= 0) & (truth < classes)
    return confusion_matrix(truth[counted], prediction[counted], classes)


def intersection_over_union(counts: np.ndarray) -> np.ndarray:
    """IoU of each class; NaN of one that is neither in the truth nor predicted.

    As MMSegmentation's ``IoUMetric`` has it; its mIoU is the mean of those that are not NaN.

    Args:
        counts: (C, C), of :func:`count_pixels`.

    Returns:
        (C,) float64 in [0, 1].
    """
    both = np.diag(counts)
    either = counts.sum(axis=0) + counts.sum(axis=1) - both
    with np.errstate(invalid='ignore'):
        return both / either


def draw_segmentation_look(
    photos: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    truths: Sequence[np.ndarray] | None,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    counts: np.ndarray | None,
    title: str,
) -> Figure:
    """Photos, predictions and, where the truth is known, errors and the IoU of each class.

    Args:
        photos: (H, W, 3) uint8.
        predictions: (H, W) labels.
        truths: (H, W) labels, or None.
        classes: Names.
        palette: (R, G, B) of each class, 0 to 255.
        counts: (C, C) of :func:`count_pixels`, of these and more images; None without truths.
        title: Of the picture.
    """
    rows = {'photo': list(photos)}
    if truths is not None:
        rows['truth'] = [paint_labels(labels, palette) for labels in truths]
    rows['prediction'] = [paint_labels(labels, palette) for labels in predictions]
    if truths is not None:
        rows['errors'] = [
            paint_errors(truth, prediction, len(classes))
            for truth, prediction in zip(truths, predictions, strict=True)
        ]
    rows['overlay'] = [
        overlay_labels(photo, labels, palette)
        for photo, labels in zip(photos, predictions, strict=True)
    ]
    height, width = np.mean([photo.shape[:2] for photo in photos], axis=0)
    sideways = len(photos) <= FEW
    edge = LARGE_EDGE if sideways else EDGE
    down, across = (len(photos), len(rows)) if sideways else (len(rows), len(photos))
    wide, above = edge * across + 0.3, down * edge * height / width + 0.7
    there = labels_in([*predictions, *(truths or [])])
    if counts is None:
        figure = Figure(figsize=(max(4.0, wide), above + 0.3), layout='constrained')
        panel: Any = figure
    else:
        bars = min(len(classes), MOST_BARS)
        below = 0.19 * bars + 0.9
        figure = Figure(figsize=(max(6.0, wide), above + below + 0.3), layout='constrained')
        parts: Any = figure.subfigures(2, 1, height_ratios=(above, below))
        panel, lower = parts
        _draw_bars(lower.subplots(), counts, classes, palette)
    figure.suptitle(title, fontsize=10)
    draw_rows(panel, rows, there, classes, palette, sideways)
    return figure


def _draw_bars(
    axis: Axes, counts: np.ndarray, classes: Sequence[str], palette: Sequence[Sequence[int]]
) -> None:
    """A bar for each class, the best on top, with how many of the pixels it has."""
    ious = intersection_over_union(counts)
    known = np.flatnonzero(~np.isnan(ious))
    order = known[np.argsort(ious[known], kind='stable')]
    left = len(order) - MOST_BARS
    if left > 0:
        order = np.concatenate([order[: MOST_BARS // 2], order[-MOST_BARS // 2 :]])
    places = np.arange(len(order))
    shares = counts.sum(axis=1) / max(1, counts.sum())
    axis.barh(places, 100 * ious[order], color=np.divide(palette, 255)[order], edgecolor='0.4',
              linewidth=0.5)  # fmt: skip
    for place, index in enumerate(order):
        axis.text(100 * ious[index] + 0.7, place,
                  f'{100 * ious[index]:.1f}   ({100 * shares[index]:.2g} % of the pixels)',
                  va='center', fontsize=7,
                  bbox=dict(facecolor='white', edgecolor='none', pad=0.5))  # fmt: skip
    mean = 100 * np.nanmean(ious) if len(known) else np.nan
    axis.axvline(mean, color='black', linestyle='--', linewidth=1, zorder=1)
    axis.set_yticks(places, [classes[index] for index in order], fontsize=8)
    axis.set(xlim=(0, 118), ylim=(-0.6, len(order) - 0.4), xticks=range(0, 101, 20))
    axis.tick_params(axis='x', labelsize=7)
    axis.spines[['top', 'right']].set_visible(False)
    axis.set_xlabel('intersection over union, %', fontsize=8)
    said = [f'mIoU {mean:.1f} (dashed)', f'{counts.trace() / max(1, counts.sum()):.1%} of the '
            f'{counts.sum():,} labelled pixels right']  # fmt: skip
    if left > 0:
        said.append(f'the {MOST_BARS // 2} best and worst of {len(known)} classes')
    if absent := len(classes) - len(known):
        said.append(f'{absent} in none of the images')
    axis.set_title('; '.join(said), fontsize=9)
