"""Pictures of what a model sees and predicts."""

from .confusions import confusion_matrix, draw_confusions
from .curves import draw_curves, read_scalars
from .feature_colours import ColourBasis, FeatureColours, draw_feature_colours
from .filters import draw_filters, principal_filters
from .image_map import cells_of, draw_image_map
from .neighbours import draw_neighbours, most_alike, nearest_images, panel_of_neighbours
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
from .segmentations import draw_segmentations, paint_labels
from .shown_bands import as_photo, in_three_bands, shown_places

__all__ = [
    'ColourBasis',
    'FeatureColours',
    'PrincipalComponents',
    'as_photo',
    'cells_of',
    'confusion_matrix',
    'draw_confusions',
    'draw_curves',
    'draw_feature_colours',
    'draw_filters',
    'draw_image_map',
    'draw_neighbours',
    'draw_precisions',
    'draw_reconstructions',
    'draw_segmentations',
    'filled_in',
    'hide_patches',
    'in_three_bands',
    'most_alike',
    'nearest_images',
    'paint_labels',
    'panel_of',
    'panel_of_neighbours',
    'paste',
    'principal_filters',
    'read_scalars',
    'reconstruct',
    'shown_places',
]
