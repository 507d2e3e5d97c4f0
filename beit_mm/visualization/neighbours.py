"""Which images a network takes for alike."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from .shown_bands import Shown, as_photo

# Whether a picture is of the query's class; None where a class is not known.
RIGHT, WRONG = 'tab:green', 'tab:red'


def nearest_images(features: Tensor, queries: Sequence[int], count: int) -> Tensor:
    """The images whose features are most like a query's, by cosine, itself left out.

    Args:
        features: (N, C) float.
        queries: Rows of it, Q of them.
        count: How many for each; less than N.

    Returns:
        (Q, count) int64, the most alike first.
    """
    chosen = torch.as_tensor(queries)
    return most_alike(features[chosen], features, count, chosen)[0]


def most_alike(
    queries: Tensor, features: Tensor, count: int, itself: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The images whose features are most like those of others, by cosine.

    Args:
        queries: (Q, C) float.
        features: (N, C) float.
        count: How many for each.
        itself: (Q,) int64, the row of ``features`` that is the query itself, which is left out, or
            -1 if none is. None if none is of any; else ``count`` is less than N.

    Returns:
        (Q, count) int64, rows of ``features``, the most alike first; and (Q, count) float32, their
        cosines.
    """
    normalize = torch.nn.functional.normalize
    alike = normalize(queries.float(), dim=1) @ normalize(features.float(), dim=1).T
    if itself is not None:
        there = torch.nonzero(itself >= 0).flatten()
        alike[there, itself[there]] = -torch.inf
    cosines, nearest = alike.topk(count, dim=1)
    return nearest, cosines


def draw_neighbours(
    rows: Sequence[Sequence[np.ndarray]],
    path: str | Path,
    shown: Shown = None,
    bands: Sequence[str] | None = None,
) -> None:
    """Write a panel: an image in the first column, and its neighbours beside it.

    Args:
        rows: (H, W, C) pictures in [0, 255], uint8 or floating, as many in each row.
        path: Where the PNG goes.
        shown, bands: Which bands are red, green and blue, and the names of all; see
            :func:`beit_mm.visualization.shown_places`.
    """
    pictures = [[as_photo(picture, shown, bands) for picture in row] for row in rows]
    panel_of_neighbours(pictures).savefig(path, dpi=120)


def panel_of_neighbours(
    rows: Sequence[Sequence[np.ndarray]],
    captions: Sequence[Sequence[str]] | None = None,
    right: Sequence[Sequence[bool | None]] | None = None,
) -> Figure:
    """A panel: an image in the first column, and its neighbours beside it.

    Args:
        rows: (H, W, 3) uint8 photos, as many in each row.
        captions: Of each, below it.
        right: Of each, whether it has the class of the query, which its frame tells; None where
            that is not known.
    """
    columns = len(rows[0])
    below = (
        0.0
        if captions is None
        else 0.13 * max(caption.count('\n') + 1 for row in captions for caption in row)
    )
    figure = Figure(
        figsize=(0.95 * columns + 0.2, (0.95 + below) * len(rows) + 0.4), layout='constrained'
    )
    axes = figure.subplots(len(rows), columns, squeeze=False)
    axes[0][0].set_title('image', fontsize=9)
    axes[0][1].set_title('most alike', fontsize=9, loc='left')
    if right is not None and any(each is not None for row in right for each in row):
        figure.suptitle('green: of the same class, red: of another', fontsize=8)
    for (row, column), axis in np.ndenumerate(axes):
        axis.imshow(rows[row][column], interpolation='antialiased')
        axis.set(xticks=[], yticks=[])
        if captions is not None:
            axis.set_xlabel(captions[row][column], fontsize=7, labelpad=2)
        if right is not None and right[row][column] is not None:
            for spine in axis.spines.values():
                spine.set(color=RIGHT if right[row][column] else WRONG, linewidth=2.5)
    return figure
