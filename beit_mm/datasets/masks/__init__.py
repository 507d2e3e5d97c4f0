"""Which patches are hidden: blocks (BEiT 2.3, Algorithm 1) and random patches."""

from .blockwise import plain_blockwise_mask
from .fast_blockwise import blockwise_mask
from .generators import BlockwiseMaskGenerator, RandomMaskGenerator
from .random_patches import random_mask

__all__ = [
    'BlockwiseMaskGenerator',
    'RandomMaskGenerator',
    'blockwise_mask',
    'plain_blockwise_mask',
    'random_mask',
]
