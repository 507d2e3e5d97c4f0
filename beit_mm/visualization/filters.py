"""What the patch projection looks for."""

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from .principal_components import with_known_signs
from .shown_bands import Shown, shown_places

COLUMNS = 7


def principal_filters(weight: Tensor, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The principal components of the filters (arXiv 2010.11929, figure 7, left).

    Args:
        weight: (C, bands, p, p), of the patch projection.
        count: How many; fewer if there are not so many.

    Returns:
        (K, bands, p, p) float32 of length one, the largest value of each positive; and (K,)
        float32, the share of the variance of each.
    """
    # The filters are few, and a matrix of covariances, as PrincipalComponents has of vectors that
    # are many, does not fit in memory where there are hundreds of bands.
    rows = weight.detach().cpu().double().flatten(1)
    _, values, components = torch.linalg.svd(rows - rows.mean(dim=0), full_matrices=False)
    filters = with_known_signs(components[:count]).unflatten(1, weight.shape[1:])
    shares = values.square() / values.square().sum()
    return filters.float().numpy(), shares[:count].float().numpy()


def draw_filters(
    filters: np.ndarray,
    shares: np.ndarray,
    shown: Shown = None,
    bands: Sequence[str] | None = None,
) -> Figure:
    """A panel of filters, each in its own range, with the share of the variance above it.

    Args:
        filters: (K, bands, p, p).
        shares: (K,).
        shown, bands: Which bands are red, green and blue, and the names of all; see
            :func:`beit_mm.visualization.shown_places`.
    """
    scaled = scaled_filters(filters, shown, bands)
    rows = -(-len(filters) // COLUMNS)
    figure = Figure(figsize=(COLUMNS * 0.95, rows * 1.09 + 0.3), layout='compressed')
    figure.suptitle("Principal components of the patch projection's filters", fontsize=10)
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, one, share in zip(axes, scaled, shares, strict=False):
        axis.imshow(one, interpolation='nearest')
        axis.set_title(f'{share:.1%}', fontsize=7, pad=2)
    return figure


def scaled_filters(
    filters: np.ndarray, shown: Shown = None, bands: Sequence[str] | None = None
) -> np.ndarray:
    """Filters as images, each in its own range.

    Args:
        filters: (K, bands, p, p).
        shown, bands: See :func:`draw_filters`.

    Returns:
        (K, p, p, 3) float in [0, 1].
    """
    places = list(shown_places(filters.shape[1], shown, bands))
    low = filters.min(axis=(1, 2, 3), keepdims=True)
    spread = np.maximum(filters.max(axis=(1, 2, 3), keepdims=True) - low, 1e-12)
    return ((filters[:, places] - low) / spread).transpose(0, 2, 3, 1)
