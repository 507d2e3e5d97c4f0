"""What input pipelines need beyond MMPretrain's and MMSegmentation's: masks, views, checks."""

from .annotations import CheckAnnotation
from .masking import BlockwiseMaskGenerator, RandomMaskGenerator, blockwise_mask, random_mask
from .views import TwoViewRandomResizedCrop

__all__ = [
    'BlockwiseMaskGenerator',
    'CheckAnnotation',
    'RandomMaskGenerator',
    'TwoViewRandomResizedCrop',
    'blockwise_mask',
    'random_mask',
]
