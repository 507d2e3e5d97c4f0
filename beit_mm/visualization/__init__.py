"""Pictures of what a model sees and predicts."""

from .reconstructions import draw_reconstructions, hide_patches, reconstruct
from .segmentations import draw_segmentations, paint_labels

__all__ = [
    'draw_reconstructions',
    'draw_segmentations',
    'hide_patches',
    'paint_labels',
    'reconstruct',
]
