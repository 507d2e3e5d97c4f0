"""Masks and views: what pre-training's input pipeline needs beyond MMPretrain's."""

from .masking import BlockwiseMaskGenerator, RandomMaskGenerator, blockwise_mask, random_mask
from .places import PlacedSampler, SeededDataset
from .views import TwoViewRandomResizedCrop

__all__ = [
    'BlockwiseMaskGenerator',
    'PlacedSampler',
    'RandomMaskGenerator',
    'SeededDataset',
    'TwoViewRandomResizedCrop',
    'blockwise_mask',
    'random_mask',
]
