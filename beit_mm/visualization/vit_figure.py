"""The figure of ViT's paper that shows what a network has learned of images: its figure 7."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .attention_overlays import show_distances
from .filters import COLUMNS, scaled_filters
from .mosaics import mosaic
from .position_maps import show_similarities
from .shown_bands import Shown


def draw_vit_figure(
    filters: np.ndarray,
    shares: np.ndarray,
    similarities: np.ndarray | None,
    distances: np.ndarray,
    uniform: float,
    *,
    no_positions: str = '',
    subtitle: str = '',
    shown: Shown = None,
    bands: Sequence[str] | None = None,
) -> Figure:
    """Filters, positions and attention distances side by side (arXiv 2010.11929, figure 7).

    Args:
        filters: (K, bands, p, p), from :func:`beit_mm.visualization.principal_filters`.
        shares: (K,), of the variance.
        similarities: (h, w, h, w), from :func:`beit_mm.visualization.position_similarities`; None
            of a network without absolute positions.
        distances: (blocks, heads), in pixels.
        uniform: The distance of attention that goes to all patches alike.
        no_positions: What stands in the place of the similarities where there are none.
        subtitle: Of the distances: what they are averaged over.
        shown, bands: Which bands are red, green and blue, and the names of all; see
            :func:`beit_mm.visualization.shown_places`.
    """
    figure = Figure(figsize=(15, 4.2), layout='constrained')
    left, centre, right = figure.subplots(1, 3, width_ratios=(1.75, 1.2, 1.15))
    for axis, title in (
        (left, 'Principal components of the filters'),
        (centre, 'Similarity of absolute positions'),
        (right, 'Mean attention distance'),
    ):
        axis.set_title(title, fontsize=11)
    _show_filters(left, scaled_filters(filters, shown, bands), float(shares.sum()))
    if similarities is None:
        _say(centre, no_positions)
    else:
        show_similarities(figure, centre, similarities)
    show_distances(right, distances, uniform)
    if subtitle:
        right.set_xlabel(f'block ({subtitle})', fontsize=8)
    return figure


def _show_filters(axis: Axes, filters: np.ndarray, share: float) -> None:
    side = filters.shape[1]
    blank = np.ones((-len(filters) % COLUMNS, *filters.shape[1:]), filters.dtype)
    rows = np.concatenate([filters, blank]).reshape(-1, COLUMNS, *filters.shape[1:])
    axis.imshow(mosaic(rows, max(1, round(0.12 * side)), 1), interpolation='nearest')
    axis.set_xlabel(f'the first {len(filters)}, {share:.0%} of the variance', fontsize=8)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)


def _say(axis: Axes, text: str) -> None:
    axis.text(
        0.5, 0.5, text, ha='center', va='center', fontsize=9, color='0.35',
        transform=axis.transAxes,
    )  # fmt: skip
    axis.set_box_aspect(1)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_color('0.8')
