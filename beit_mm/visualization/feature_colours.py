"""Features of patches as colours: what a network takes for alike has one colour."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from .mosaics import draw_pairs
from .principal_components import PrincipalComponents

# Per cent of the patches that are darker than black, and as many brighter than white: one patch
# that is far from all others does not rule the colours.
BEYOND = 2


class ColourBasis(NamedTuple):
    """What makes colours of features, the same for all images.

    Attributes:
        mean: (C,) float64, of the features.
        components: (3, C) float64, see :meth:`PrincipalComponents.first`.
        shares: (3,) float64, the share of the variance of each.
        low, high: (3,) float64, coordinates that are black and white.
    """

    mean: np.ndarray
    components: np.ndarray
    shares: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def coordinates(self, features: Tensor) -> np.ndarray:
        """Features along the components.

        Args:
            features: (B, C, h, w) float.

        Returns:
            (B, h, w, 3) float32.
        """
        rows = features.detach().cpu().double().permute(0, 2, 3, 1).numpy()
        return ((rows - self.mean) @ self.components.T).astype(np.float32)

    def colours(self, coordinates: np.ndarray) -> np.ndarray:
        """Coordinates (..., 3) as red, green and blue in [0, 1]."""
        return ((coordinates - self.low) / np.maximum(self.high - self.low, 1e-12)).clip(0, 1)


class FeatureColours:
    """Finds the :class:`ColourBasis` of features that come in parts.

    Args:
        per_image: Patches of each image whose coordinates tell black and white; kept in memory.
    """

    def __init__(self, per_image: int) -> None:
        self.per_image = per_image
        self.components = PrincipalComponents()
        self.sample: list[Tensor] = []

    def add(self, features: Tensor) -> None:
        """Take the features (B, C, h, w) of images in."""
        rows = features.detach().float().cpu().flatten(2).transpose(1, 2)
        self.components.add(rows.flatten(0, 1))
        taken = np.linspace(0, rows.shape[1] - 1, min(self.per_image, rows.shape[1]))
        self.sample.append(rows[:, torch.from_numpy(taken.astype(int))].flatten(0, 1))

    def basis(self) -> ColourBasis:
        """Of all that were taken in."""
        mean = self.components.mean.numpy()
        components, shares = self.components.first(3)
        along = (torch.cat(self.sample).double().numpy() - mean) @ components.T
        low, high = np.percentile(along, (BEYOND, 100 - BEYOND), axis=0)
        return ColourBasis(mean, components, shares, low, high)


def draw_feature_colours(
    photos: Sequence[np.ndarray], colours: np.ndarray, shares: np.ndarray, what: str
) -> Figure:
    """Photos, each beside the colours of its features.

    Args:
        photos: (H, W, 3) uint8.
        colours: (B, h, w, 3) in [0, 1].
        shares: (3,), of the variance, of red, green and blue.
        what: The features, in words.
    """
    red, green, blue = (f'{share:.0%}' for share in shares)
    title = (
        f'Principal components of {what} as red ({red} of the variance), green ({green}) and blue '
        f'({blue})'
    )
    return draw_pairs(photos, list(np.rint(255 * colours).astype(np.uint8)), title, 'features')
