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
from .code_use import CodeUse
from .confusions import confusion_matrix, draw_confusions
from .curves import draw_curves, read_scalars
from .feature_colours import ColourBasis, FeatureColours, draw_feature_colours
from .filters import draw_filters, principal_filters
from .image_map import cells_of, draw_image_map
from .intersections import count_pixels, draw_segmentation_look, intersection_over_union
from .neighbours import draw_neighbours, most_alike, nearest_images, panel_of_neighbours
from .position_maps import (
    draw_offset_maps,
    draw_similarities,
    offset_maps,
    position_similarities,
)
from .precisions import draw_precisions
from .principal_components import PrincipalComponents
from .reconstructions import (
    draw_reconstructions,
    filled_in,
    hide_patches,
    panel_of,
    paste,
    reconstruct,
)
from .segmentations import draw_segmentations, overlay_labels, paint_errors, paint_labels
from .shot_curves import draw_shots
from .shown_bands import as_photo, in_three_bands, shown_places
from .tokens import CodeRow, Redrawn, draw_tokens, patches_around
from .vit_figure import draw_vit_figure

__all__ = [
    'CodeRow',
    'CodeUse',
    'ColourBasis',
    'FeatureColours',
    'PrincipalComponents',
    'Redrawn',
    'as_photo',
    'attention_distances',
    'attention_probabilities',
    'attention_rollout',
    'attention_rows',
    'cells_of',
    'confusion_matrix',
    'count_pixels',
    'draw_attention',
    'draw_confusions',
    'draw_curves',
    'draw_distances',
    'draw_feature_colours',
    'draw_filters',
    'draw_image_map',
    'draw_neighbours',
    'draw_offset_maps',
    'draw_precisions',
    'draw_reconstructions',
    'draw_rollouts',
    'draw_segmentation_look',
    'draw_segmentations',
    'draw_shots',
    'draw_similarities',
    'draw_tokens',
    'draw_vit_figure',
    'filled_in',
    'hide_patches',
    'in_three_bands',
    'intersection_over_union',
    'most_alike',
    'nearest_images',
    'offset_maps',
    'overlay',
    'overlay_labels',
    'paint_errors',
    'paint_labels',
    'panel_of',
    'panel_of_neighbours',
    'paste',
    'patch_distances',
    'patches_around',
    'place_of',
    'position_similarities',
    'principal_filters',
    'read_scalars',
    'reconstruct',
    'shown_places',
    'watched_attention',
]
