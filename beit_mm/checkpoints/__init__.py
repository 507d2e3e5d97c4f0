"""Reading public checkpoints safely. This package knows tensors and their names, no model."""

from .about import read_about
from .band_names import BAND_NAMES, pack_names, read_band_names
from .checkpoint_error import CheckpointError
from .conversion import convert_state_dict, read_patch_grid, share_table, translate
from .folders import read_config, read_mean_and_std
from .layouts import (
    BEIT,
    LAYOUTS,
    MAE,
    OF_JAX,
    OF_VIT_ALONE,
    PREFIX,
    VIT,
    detect_layout,
    find_layout,
    is_whole,
    kind_of,
    known_layout,
    of_the_function,
    summarize,
)
from .reading import load_state_dict, read_checkpoint
from .sources import check_source, locate
from .tokenizer import load_tokenizer_state_dict
from .trained_network import network_in, told_of_network
from .wrappers import take_tensors, take_weights, unwrap_names

__all__ = [
    'BAND_NAMES',
    'BEIT',
    'LAYOUTS',
    'MAE',
    'OF_JAX',
    'OF_VIT_ALONE',
    'PREFIX',
    'VIT',
    'CheckpointError',
    'check_source',
    'convert_state_dict',
    'detect_layout',
    'find_layout',
    'is_whole',
    'kind_of',
    'known_layout',
    'load_state_dict',
    'load_tokenizer_state_dict',
    'locate',
    'network_in',
    'of_the_function',
    'pack_names',
    'read_about',
    'read_band_names',
    'read_checkpoint',
    'read_config',
    'read_mean_and_std',
    'read_patch_grid',
    'share_table',
    'summarize',
    'take_tensors',
    'take_weights',
    'told_of_network',
    'translate',
    'unwrap_names',
]
