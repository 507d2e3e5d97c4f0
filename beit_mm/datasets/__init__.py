"""What input pipelines need beyond MMPretrain's and MMSegmentation's: masks, views, checks."""

from .annotations import CheckAnnotation
from .broken_images import ReplacingDataset
from .decoding import BrokenImage, LoadPhoto, decode_image
from .masking import BlockwiseMaskGenerator, RandomMaskGenerator, blockwise_mask, random_mask
from .places import PlacedSampler, SeededDataset
from .views import TwoViewRandomResizedCrop

__all__ = [
    'BlockwiseMaskGenerator',
    'BrokenImage',
    'CheckAnnotation',
    'LoadPhoto',
    'PlacedSampler',
    'RandomMaskGenerator',
    'ReplacingDataset',
    'SeededDataset',
    'TwoViewRandomResizedCrop',
    'blockwise_mask',
    'decode_image',
    'random_mask',
]
