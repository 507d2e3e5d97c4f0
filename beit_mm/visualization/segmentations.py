"""What a segmentor says of photos, beside the truth."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .shown_bands import Shown, as_photo

# Classes in the legend, of more than these only those that are seen, and in a row of it.
MOST_NAMED, MOST_IN_A_ROW = 60, 12


def paint_labels(labels: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """Labels as colours.

    Args:
        labels: (H, W) integers; those without a colour, such as 255 for unlabelled, become black.
        palette: (R, G, B) of each class, 0 to 255.

    Returns:
        (H, W, 3) uint8.
    """
    colours = np.zeros((len(palette) + 1, 3), dtype=np.uint8)
    colours[:-1] = palette
    return colours[np.minimum(labels, len(palette))]


def draw_segmentations(
    photos: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    path: str | Path,
    shown: Shown = None,
    bands: Sequence[str] | None = None,
) -> None:
    """Write a panel, a column for each photo, with photo, truth and prediction below each other.

    Args:
        photos: (H, W, C) in [0, 255], uint8 or floating; RGB if C is three.
        truths: (H, W) labels.
        predictions: (H, W) labels.
        classes: Names, for the legend.
        palette: (R, G, B) of each class, 0 to 255.
        path: Where the PNG goes.
        shown, bands: Which bands are red, green and blue, and the names of all; see
            :func:`beit_mm.visualization.shown_places`.
    """
    rows = {
        'photo': [as_photo(photo, shown, bands) for photo in photos],
        'truth': [paint_labels(labels, palette) for labels in truths],
        'prediction': [paint_labels(labels, palette) for labels in predictions],
    }
    height, width = photos[0].shape[:2]
    figure = Figure(
        figsize=(1.5 * len(photos) + 0.8, 1.5 * height / width * 3 + 0.6), layout='constrained'
    )
    axes = figure.subplots(len(rows), len(photos), squeeze=False)
    for row, (label, pictures) in zip(axes, rows.items(), strict=True):
        row[0].set_ylabel(label)
        for axis, picture in zip(row, pictures, strict=True):
            axis.imshow(picture, interpolation='nearest')
            axis.set(xticks=[], yticks=[])
    there = np.unique(np.concatenate([np.unique(labels) for labels in (*truths, *predictions)]))
    handles = [
        Patch(facecolor=tuple(np.divide(colour, 255)), label=name)
        for index, (name, colour) in enumerate(zip(classes, palette, strict=True))
        if len(classes) <= MOST_NAMED or index in there
    ][:MOST_NAMED]
    handles.append(Patch(facecolor='black', label='unlabelled'))
    figure.legend(handles=handles, loc='outside lower center', fontsize=7, frameon=False,
                  ncols=min(MOST_IN_A_ROW, len(handles)))  # fmt: skip
    figure.savefig(path, dpi=100)
