"""What input pipelines need beyond MMPretrain's and MMSegmentation's: masks, views, checks."""

from .annotations import CheckAnnotation
from .load_views import LoadTwoViews
from .masking import BlockwiseMaskGenerator, RandomMaskGenerator, blockwise_mask, random_mask
from .token_cache import CacheError, TokenCache
from .views import TwoViewRandomResizedCrop

__all__ = [
    'BlockwiseMaskGenerator',
    'CacheError',
    'CheckAnnotation',
    'LoadTwoViews',
    'RandomMaskGenerator',
    'TokenCache',
    'TwoViewRandomResizedCrop',
    'blockwise_mask',
    'random_mask',
]
