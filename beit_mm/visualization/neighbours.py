"""Which images a network takes for alike."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from .shown_bands import Shown, as_photo


def nearest_images(features: Tensor, queries: Sequence[int], count: int) -> Tensor:
    """The images whose features are most like a query's, by cosine, itself left out.

    Args:
        features: (N, C) float.
        queries: Rows of it, Q of them.
        count: How many for each; less than N.

    Returns:
        (Q, count) int64, the most alike first.
    """
    rows = torch.nn.functional.normalize(features.float(), dim=1)
    chosen = torch.as_tensor(queries)
    alike = rows[chosen] @ rows.T
    alike[torch.arange(len(chosen)), chosen] = -torch.inf
    return alike.topk(count, dim=1).indices


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
    columns = len(rows[0])
    figure = Figure(figsize=(0.9 * columns + 0.2, 0.9 * len(rows) + 0.4), layout='constrained')
    axes = figure.subplots(len(rows), columns, squeeze=False)
    axes[0][0].set_title('image', fontsize=8)
    axes[0][1].set_title('most alike', fontsize=8, loc='left')
    for drawn, pictures in zip(axes, rows, strict=True):
        for axis, picture in zip(drawn, pictures, strict=True):
            axis.imshow(as_photo(picture, shown, bands), interpolation='nearest')
            axis.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=120)
