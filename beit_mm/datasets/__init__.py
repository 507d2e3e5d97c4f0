"""What input pipelines need beyond MMPretrain's and MMSegmentation's: masks, views, checks."""

from .annotations import CheckAnnotation, LoadLabels, MapLabels
from .coco_masks import draw_instances, read_coco, write_coco_masks
from .decoding import LoadPhoto, decode_image
from .masks import (
    BlockwiseMaskGenerator,
    GridMaskGenerator,
    PatchCorruptionGenerator,
    RandomMaskGenerator,
    blockwise_mask,
    corrupt_patches,
    grid_mask,
    plain_blockwise_mask,
    random_mask,
)
from .photo_folder import photo_folder
from .places import PlacedSampler, SeededDataset
from .reading.broken_image import BrokenImage
from .replacing import ReplacingDataset
from .sources.hub_photos import HubPhotos
from .sources.photo_lmdb import PhotoLMDB
from .sources.photo_shards import PhotoShards
from .sources.photo_table import PhotoTable
from .sources.shard_sampler import ShardSampler
from .token_cache import CacheError, TokenCache
from .views.colors import JitterBands
from .views.load_two_views import LoadTwoViews
from .views.two_view_crop import TwoViewRandomResizedCrop

__all__ = [
    'BlockwiseMaskGenerator',
    'BrokenImage',
    'CacheError',
    'CheckAnnotation',
    'GridMaskGenerator',
    'HubPhotos',
    'JitterBands',
    'LoadLabels',
    'LoadPhoto',
    'LoadTwoViews',
    'MapLabels',
    'PatchCorruptionGenerator',
    'PhotoLMDB',
    'PhotoShards',
    'PhotoTable',
    'PlacedSampler',
    'RandomMaskGenerator',
    'ReplacingDataset',
    'SeededDataset',
    'ShardSampler',
    'TokenCache',
    'TwoViewRandomResizedCrop',
    'blockwise_mask',
    'corrupt_patches',
    'decode_image',
    'draw_instances',
    'grid_mask',
    'photo_folder',
    'plain_blockwise_mask',
    'random_mask',
    'read_coco',
    'write_coco_masks',
]
