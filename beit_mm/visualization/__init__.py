"""Pictures of what a model sees and predicts."""

from .curves import draw_curves, read_scalars
from .neighbours import draw_neighbours, nearest_images
from .reconstructions import (
    draw_reconstructions,
    filled_in,
    hide_patches,
    panel_of,
    reconstruct,
)
from .segmentations import draw_segmentations, paint_labels

__all__ = [
    'draw_curves',
    'draw_neighbours',
    'draw_reconstructions',
    'draw_segmentations',
    'filled_in',
    'hide_patches',
    'nearest_images',
    'paint_labels',
    'panel_of',
    'read_scalars',
    'reconstruct',
]
