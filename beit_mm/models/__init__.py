"""Backbone, tokenizer and pre-training task, and the segmentation task layer."""

import importlib

from ..registry import MODELS
from .axial_vision_transformer import AxialVisionTransformer
from .beit import BEiT
from .converting import convert
from .data_preprocessor import TwoViewDataPreprocessor
from .discrete_vae import DiscreteVAE
from .hybrid_stem import HybridStem
from .loading import load
from .loading_autoencoder import load_autoencoder
from .masked_autoencoder import MAEDecoder, MaskedAutoencoder
from .masked_image_modeling import MaskedImageModeling
from .masked_patch_prediction import MaskedPatchPrediction
from .mean_colors import MeanColorTargetGenerator
from .mim_heads import MIMHead, PixelHead
from .patch_components import PCATargetGenerator
from .target_generators import (
    CachedTargetGenerator,
    DVAETargetGenerator,
    PixelTargetGenerator,
)
from .vision_transformer import VisionTransformer

__all__ = [
    'AxialVisionTransformer',
    'BEiT',
    'CachedTargetGenerator',
    'DVAETargetGenerator',
    'DiscreteVAE',
    'HybridStem',
    'MAEDecoder',
    'MIMHead',
    'MaskedAutoencoder',
    'MaskedImageModeling',
    'MaskedPatchPrediction',
    'MeanColorTargetGenerator',
    'PCATargetGenerator',
    'PixelHead',
    'PixelTargetGenerator',
    'SETRPUPHead',
    'SegDataPreProcessor',
    'TwoViewDataPreprocessor',
    'VisionTransformer',
    'convert',
    'load',
    'load_autoencoder',
]


# What is built on MMSegmentation, which may be missing.
OF_MMSEGMENTATION = dict(SETRPUPHead='setr_pup_head', SegDataPreProcessor='seg_preprocessor')


def __getattr__(name: str):
    """Import MMSegmentation no sooner than what is built on it is asked for."""
    if name not in OF_MMSEGMENTATION:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    try:
        module = importlib.import_module(f'.{OF_MMSEGMENTATION[name]}', __name__)
    except ImportError as error:
        raise ImportError(
            f'{name} needs the package mmseg ({error}): '
            'pip install onedl-mmsegmentation (or mmsegmentation==1.2.2)'
        ) from error
    return getattr(module, name)


@MODELS.register_module(name='SETRPUPHead')
def build_setr_pup_head(**settings):
    """Build :class:`SETRPUPHead` from its arguments, for ``type='beit_mm.SETRPUPHead'``."""
    return __getattr__('SETRPUPHead')(**settings)


@MODELS.register_module(name='SegDataPreProcessor')
def build_seg_preprocessor(**settings):
    """Build :class:`SegDataPreProcessor`, for ``type='beit_mm.SegDataPreProcessor'``."""
    return __getattr__('SegDataPreProcessor')(**settings)


# Where their settings are looked up, see beit_mm.component.Component.
build_setr_pup_head.__dict__['hands_on_to'] = lambda: __getattr__('SETRPUPHead')
build_seg_preprocessor.__dict__['hands_on_to'] = lambda: __getattr__('SegDataPreProcessor')
