"""Pictures of what a model sees and predicts."""

from .code_use import CodeUse
from .confusions import confusion_matrix, draw_confusions
from .curves import draw_curves, read_scalars
from .filters import draw_filters, principal_filters
from .intersections import count_pixels, draw_segmentation_look, intersection_over_union
from .neighbours import draw_neighbours, nearest_images
from .precisions import draw_precisions
from .reconstructions import (
    draw_reconstructions,
    filled_in,
    hide_patches,
    panel_of,
    reconstruct,
)
from .segmentations import draw_segmentations, overlay_labels, paint_errors, paint_labels
from .shown_bands import as_photo, in_three_bands, shown_places
from .tokens import CodeRow, Redrawn, draw_tokens, patches_around

__all__ = [
    'CodeRow',
    'CodeUse',
    'Redrawn',
    'as_photo',
    'confusion_matrix',
    'count_pixels',
    'draw_confusions',
    'draw_curves',
    'draw_filters',
    'draw_neighbours',
    'draw_precisions',
    'draw_reconstructions',
    'draw_segmentation_look',
    'draw_segmentations',
    'draw_tokens',
    'filled_in',
    'hide_patches',
    'in_three_bands',
    'intersection_over_union',
    'nearest_images',
    'overlay_labels',
    'paint_errors',
    'paint_labels',
    'panel_of',
    'patches_around',
    'principal_filters',
    'read_scalars',
    'reconstruct',
    'shown_places',
]
