"""Reading public checkpoints safely. This package knows tensors and their names, no model."""

from .conversion import convert_state_dict, read_patch_grid, share_table, translate
from .layouts import (
    LAYOUTS,
    PREFIX,
    detect_layout,
    find_layout,
    is_whole,
    of_the_function,
    summarize,
)
from .reading import CheckpointError, load_state_dict, read_checkpoint, take_tensors
from .tokenizer import load_tokenizer_state_dict

__all__ = [
    'LAYOUTS',
    'PREFIX',
    'CheckpointError',
    'convert_state_dict',
    'detect_layout',
    'find_layout',
    'is_whole',
    'load_state_dict',
    'load_tokenizer_state_dict',
    'of_the_function',
    'read_checkpoint',
    'read_patch_grid',
    'share_table',
    'summarize',
    'take_tensors',
    'translate',
]
