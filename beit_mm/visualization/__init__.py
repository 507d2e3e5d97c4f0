"""Pictures of what a model sees and predicts."""

from .confusions import confusion_matrix, draw_confusions
from .curves import draw_curves, read_scalars
from .filters import draw_filters, principal_filters
from .neighbours import draw_neighbours, nearest_images
from .precisions import draw_precisions
from .reconstructions import (
    draw_reconstructions,
    filled_in,
    hide_patches,
    panel_of,
    paste,
    reconstruct,
)
from .segmentations import draw_segmentations, paint_labels
from .shown_bands import as_photo, in_three_bands, shown_places

__all__ = [
    'as_photo',
    'confusion_matrix',
    'draw_confusions',
    'draw_curves',
    'draw_filters',
    'draw_neighbours',
    'draw_precisions',
    'draw_reconstructions',
    'draw_segmentations',
    'filled_in',
    'hide_patches',
    'in_three_bands',
    'nearest_images',
    'paint_labels',
    'panel_of',
    'paste',
    'principal_filters',
    'read_scalars',
    'reconstruct',
    'shown_places',
]
