"""Which classes a classifier takes for which."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

# Up to so many classes have their names on the axes and their counts in the cells.
MOST_NAMED, MOST_COUNTED = 60, 20


def confusion_matrix(
    truths: Sequence[int] | np.ndarray, predictions: Sequence[int] | np.ndarray, classes: int
) -> np.ndarray:
    """How many of each class (rows) were taken for each class (columns), (C, C) int64.

    Args:
        truths, predictions: (N,) integers in [0, C).
        classes: C.
    """
    pairs = np.asarray(truths, np.int64) * classes + np.asarray(predictions, np.int64)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def draw_confusions(counts: np.ndarray, classes: Sequence[str], path: str | Path) -> None:
    """Write a confusion matrix, coloured by the share of a row.

    Args:
        counts: (C, C), as :func:`confusion_matrix` gives it.
        classes: Their names.
        path: Where the PNG goes.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    edge = min(14.0, 2.5 + 0.3 * len(classes))
    figure = Figure(figsize=(edge + 0.8, edge), layout='constrained')
    axis = figure.subplots()
    image = axis.imshow(shares, vmin=0, vmax=1, cmap='Blues', interpolation='nearest')
    figure.colorbar(image, label='share of the class', shrink=0.8)
    axis.set(xlabel='predicted', ylabel='class')
    if len(classes) <= MOST_NAMED:
        places = range(len(classes))
        axis.set_xticks(places, classes, rotation=90, fontsize=7)
        axis.set_yticks(places, classes, fontsize=7)
    if len(classes) <= MOST_COUNTED:
        for (row, column), count in np.ndenumerate(counts):
            dark = shares[row, column] > 0.5
            axis.text(column, row, str(count), ha='center', va='center', fontsize=7,
                      color='white' if dark else 'black')  # fmt: skip
    figure.savefig(path, dpi=120)
