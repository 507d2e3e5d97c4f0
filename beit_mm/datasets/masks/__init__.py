"""Which patches are hidden: blocks (BEiT 2.3, Algorithm 1), random patches, grids."""

from .blockwise import plain_blockwise_mask
from .fast_blockwise import blockwise_mask
from .generators import BlockwiseMaskGenerator, GridMaskGenerator, RandomMaskGenerator
from .grid_patches import grid_mask
from .random_patches import random_mask

__all__ = [
    'BlockwiseMaskGenerator',
    'GridMaskGenerator',
    'RandomMaskGenerator',
    'blockwise_mask',
    'grid_mask',
    'plain_blockwise_mask',
    'random_mask',
]
