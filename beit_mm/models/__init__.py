"""Backbone, tokenizer and pre-training task, and the segmentation task layer."""

from ..registry import MODELS
from .beit import BEiT
from .converting import convert
from .data_preprocessor import TwoViewDataPreprocessor
from .discrete_vae import DiscreteVAE
from .loading import load
from .masked_image_modeling import MaskedImageModeling
from .mim_heads import MIMHead, PixelHead
from .target_generators import (
    CachedTargetGenerator,
    DVAETargetGenerator,
    MeanColorTargetGenerator,
    PixelTargetGenerator,
)

__all__ = [
    'BEiT',
    'CachedTargetGenerator',
    'DVAETargetGenerator',
    'DiscreteVAE',
    'MIMHead',
    'MaskedImageModeling',
    'MeanColorTargetGenerator',
    'PixelHead',
    'PixelTargetGenerator',
    'SETRPUPHead',
    'TwoViewDataPreprocessor',
    'convert',
    'load',
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


# Where its settings are looked up, see beit_mm.component.Component.
build_setr_pup_head.__dict__['hands_on_to'] = lambda: __getattr__('SETRPUPHead')
