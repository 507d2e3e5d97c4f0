"""Reading public checkpoints safely. This package knows tensors and their names, no model."""

from .layouts import (
    LAYOUTS,
    PREFIX,
    convert_state_dict,
    detect_layout,
    find_layout,
    is_whole,
    of_the_function,
    read_patch_grid,
    share_table,
    summarize,
    translate,
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
