"""Pictures of what a model sees and predicts."""

from .attention_maps import (
    attention_distances,
    attention_probabilities,
    attention_rollout,
    attention_rows,
    patch_distances,
    place_of,
    watched_attention,
)
from .attention_overlays import draw_attention, draw_distances, draw_rollouts, overlay
from .confusions import confusion_matrix, draw_confusions
from .curves import draw_curves, read_scalars
from .filters import draw_filters, principal_filters
from .neighbours import draw_neighbours, nearest_images
from .position_maps import (
    draw_offset_maps,
    draw_similarities,
    offset_maps,
    position_similarities,
)
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
    'attention_distances',
    'attention_probabilities',
    'attention_rollout',
    'attention_rows',
    'confusion_matrix',
    'draw_attention',
    'draw_confusions',
    'draw_curves',
    'draw_distances',
    'draw_filters',
    'draw_neighbours',
    'draw_offset_maps',
    'draw_precisions',
    'draw_reconstructions',
    'draw_rollouts',
    'draw_segmentations',
    'draw_similarities',
    'filled_in',
    'hide_patches',
    'in_three_bands',
    'nearest_images',
    'offset_maps',
    'overlay',
    'paint_labels',
    'panel_of',
    'paste',
    'patch_distances',
    'place_of',
    'position_similarities',
    'principal_filters',
    'read_scalars',
    'reconstruct',
    'shown_places',
    'watched_attention',
]
