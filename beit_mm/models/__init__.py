"""Backbone, tokenizer and pre-training task, and the segmentation task layer."""

from ..registry import MODELS
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
    'SETRPUPHead',
]


def __getattr__(name: str):
    """Import MMSegmentation, which may be missing, no sooner than its head is asked for."""
    if name != 'SETRPUPHead':
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    try:
        from .setr_pup_head import SETRPUPHead
    except ImportError as error:
        raise ImportError(
            f'SETRPUPHead needs the package mmseg ({error}): '
            'pip install onedl-mmsegmentation (or mmsegmentation==1.2.2)'
        ) from error
    return SETRPUPHead


@MODELS.register_module(name='SETRPUPHead')
def build_setr_pup_head(**settings):
    """Build :class:`SETRPUPHead` from its arguments, for ``type='beit_mm.SETRPUPHead'``."""
    return __getattr__('SETRPUPHead')(**settings)
