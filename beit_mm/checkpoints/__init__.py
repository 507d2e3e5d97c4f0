"""Reading public checkpoints safely. This package knows tensors and their names, no model."""

from .reading import CheckpointError, load_state_dict
from .tokenizer import load_tokenizer_state_dict

__all__ = ['CheckpointError', 'load_state_dict', 'load_tokenizer_state_dict']
