"""Backbone, tokenizer and pre-training task."""

from .beit import BEiT
from .discrete_vae import DiscreteVAE
from .mim import MaskedImageModeling, MIMHead
from .target_generators import DVAETargetGenerator

__all__ = ['BEiT', 'DVAETargetGenerator', 'DiscreteVAE', 'MIMHead', 'MaskedImageModeling']
