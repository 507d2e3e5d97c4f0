"""Which patches are hidden: blocks (BEiT 2.3, Algorithm 1), random patches, grids."""

from .blockwise import plain_blockwise_mask
from .corrupted_patches import corrupt_patches
from .fast_blockwise import blockwise_mask
from .generators import (
    BlockwiseMaskGenerator,
    GridMaskGenerator,
    PatchCorruptionGenerator,
    RandomMaskGenerator,
)
from .grid_patches import grid_mask
from .random_patches import random_mask

__all__ = [
    'BlockwiseMaskGenerator',
    'GridMaskGenerator',
    'PatchCorruptionGenerator',
    'RandomMaskGenerator',
    'blockwise_mask',
    'corrupt_patches',
    'grid_mask',
    'plain_blockwise_mask',
    'random_mask',
]
