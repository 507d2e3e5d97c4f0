"""Backbone, tokenizer and pre-training task."""

from .beit import BEiT
from .discrete_vae import DiscreteVAE
from .mim import MaskedImageModeling, MIMHead, PixelHead
from .target_generators import (
    DVAETargetGenerator,
    MeanColorTargetGenerator,
    PixelTargetGenerator,
)

__all__ = [
    'BEiT',
    'DVAETargetGenerator',
    'DiscreteVAE',
    'MIMHead',
    'MaskedImageModeling',
    'MeanColorTargetGenerator',
    'PixelHead',
    'PixelTargetGenerator',
]
