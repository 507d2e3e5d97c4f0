"""Masks and views: what pre-training's input pipeline needs beyond MMPretrain's."""

from .masking import BlockwiseMaskGenerator, RandomMaskGenerator, blockwise_mask, random_mask
from .views import TwoViewRandomResizedCrop

__all__ = [
    'BlockwiseMaskGenerator',
    'RandomMaskGenerator',
    'TwoViewRandomResizedCrop',
    'blockwise_mask',
    'random_mask',
]
