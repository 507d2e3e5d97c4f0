"""What input pipelines need beyond MMPretrain's and MMSegmentation's: masks, views, checks."""

from .annotations import CheckAnnotation
from .load_views import LoadTwoViews
from .masking import BlockwiseMaskGenerator, RandomMaskGenerator, blockwise_mask, random_mask
from .views import TwoViewRandomResizedCrop

__all__ = [
    'BlockwiseMaskGenerator',
    'CheckAnnotation',
    'LoadTwoViews',
    'RandomMaskGenerator',
    'TwoViewRandomResizedCrop',
    'blockwise_mask',
    'random_mask',
]
