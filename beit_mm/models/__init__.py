"""Backbone, tokenizer and pre-training task, and the segmentation task layer."""

import importlib

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
    'BandSegDataPreProcessor',
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


# What takes MMSegmentation, and where it is.
OF_MMSEG = {
    'SETRPUPHead': 'setr_pup_head',
    'BandSegDataPreProcessor': 'band_preprocessor',
}


def __getattr__(name: str):
    """Import MMSegmentation, which may be missing, no sooner than a part of it is asked for."""
    if name not in OF_MMSEG:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    try:
        return getattr(importlib.import_module(f'.{OF_MMSEG[name]}', __name__), name)
    except ImportError as error:
        raise ImportError(
            f'{name} needs the package mmseg ({error}): '
            'pip install onedl-mmsegmentation (or mmsegmentation==1.2.2)'
        ) from error


@MODELS.register_module(name='SETRPUPHead')
def build_setr_pup_head(**settings):
    """Build :class:`SETRPUPHead` from its arguments, for ``type='beit_mm.SETRPUPHead'``."""
    return __getattr__('SETRPUPHead')(**settings)


@MODELS.register_module(name='BandSegDataPreProcessor')
def build_band_preprocessor(**settings):
    """Build :class:`BandSegDataPreProcessor` from its arguments."""
    return __getattr__('BandSegDataPreProcessor')(**settings)


# Where their settings are looked up, see beit_mm.component.Component.
build_setr_pup_head.__dict__['hands_on_to'] = lambda: __getattr__('SETRPUPHead')
build_band_preprocessor.__dict__['hands_on_to'] = lambda: __getattr__('BandSegDataPreProcessor')
