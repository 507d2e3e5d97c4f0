"""Training machinery that mmengine lacks: hooks, metrics, learning rates, checks, launching."""

from .amp import BFloat16OptimWrapper, use_mixed_precision
from .config_check import ConfigError, check_config
from .hooks import DVAEAnnealingHook, GlobalBatchSizeHook
from .launch import add_common_arguments, build_runner, load_config, refuse_foreign_work_dir
from .layer_decay import LayerDecayOptimWrapperConstructor
from .loading import PublicWeightsHook, read_safely
from .metrics import MIMAccuracy, MIMError, TokenizerMetric
from .optimizers import FusedAdamW
from .token_cache import TokenCacheHook, use_token_cache, write_token_cache

__all__ = [
    'BFloat16OptimWrapper',
    'ConfigError',
    'DVAEAnnealingHook',
    'FusedAdamW',
    'GlobalBatchSizeHook',
    'LayerDecayOptimWrapperConstructor',
    'MIMAccuracy',
    'MIMError',
    'PublicWeightsHook',
    'TokenCacheHook',
    'TokenizerMetric',
    'add_common_arguments',
    'build_runner',
    'check_config',
    'load_config',
    'read_safely',
    'refuse_foreign_work_dir',
    'use_mixed_precision',
    'use_token_cache',
    'write_token_cache',
]
