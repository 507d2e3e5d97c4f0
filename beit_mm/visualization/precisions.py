"""How well each of several labels is found."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

# Up to so many classes have their names beside the bars.
MOST_NAMED = 100


def draw_precisions(
    precisions: np.ndarray, shares: np.ndarray, classes: Sequence[str], path: str | Path
) -> None:
    """Write a bar for the average precision of each class, the best on top.

    Args:
        precisions: (C,), in per cent.
        shares: (C,) of the images that have the label, in per cent: the average precision of
            chance.
        classes: Their names.
        path: Where the PNG goes.
    """
    order = np.argsort(precisions, kind='stable')
    places = np.arange(len(order))
    figure = Figure(figsize=(6, min(16.0, 1.2 + 0.22 * len(order))), layout='constrained')
    axis = figure.subplots()
    axis.barh(places, precisions[order], color='tab:blue', label='average precision')
    axis.plot(shares[order], places, 'k|', label='by chance')
    axis.set(xlim=(0, 100), ylim=(-0.6, len(order) - 0.4), xlabel='average precision, %')
    named = [classes[index] for index in order] if len(order) <= MOST_NAMED else []
    axis.set_yticks(places[: len(named)], named, fontsize=7)
    axis.legend(fontsize=7, loc='lower right')
    figure.savefig(path, dpi=120)
