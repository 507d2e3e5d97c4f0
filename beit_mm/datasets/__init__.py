"""What input pipelines need beyond MMPretrain's and MMSegmentation's: masks, views, checks."""

from .annotations import CheckAnnotation
from .broken_images import ReplacingDataset
from .decoding import BrokenImage, LoadPhoto, decode_image
from .load_views import LoadTwoViews
from .masking import BlockwiseMaskGenerator, RandomMaskGenerator, blockwise_mask, random_mask
from .places import PlacedSampler, SeededDataset
from .token_cache import CacheError, TokenCache
from .views import TwoViewRandomResizedCrop

__all__ = [
    'BlockwiseMaskGenerator',
    'BrokenImage',
    'CacheError',
    'CheckAnnotation',
    'LoadPhoto',
    'LoadTwoViews',
    'PlacedSampler',
    'RandomMaskGenerator',
    'ReplacingDataset',
    'SeededDataset',
    'TokenCache',
    'TwoViewRandomResizedCrop',
    'blockwise_mask',
    'decode_image',
    'random_mask',
]
