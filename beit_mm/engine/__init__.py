"""Training machinery that mmengine lacks: hooks, metrics, learning rates, checks, launching."""

from .amp import BFloat16OptimWrapper, use_mixed_precision
from .broken_images import BrokenImagesHook, RunStopped
from .checkpointing import WholeCheckpointHook, choose_start
from .config_check import ConfigError, check_config
from .exact_resume import ExactEpochBasedTrainLoop, ExactIterBasedTrainLoop, resume_exactly
from .hooks import CodebookHook, DVAEAnnealingHook, GlobalBatchSizeHook
from .launch import add_common_arguments, build_runner, load_config, refuse_foreign_work_dir
from .layer_decay import LayerDecayOptimWrapperConstructor
from .loading import PublicWeightsHook, read_safely
from .metrics import MIMAccuracy, MIMError, TokenizerMetric
from .non_finite import NonFiniteHook
from .optimizers import FusedAdamW
from .param_groups import GroupedOptimWrapperConstructor
from .runtime_info import RuntimeInfoHook
from .token_cache import TokenCacheHook, use_token_cache, write_token_cache

__all__ = [
    'BFloat16OptimWrapper',
    'BrokenImagesHook',
    'CodebookHook',
    'ConfigError',
    'DVAEAnnealingHook',
    'ExactEpochBasedTrainLoop',
    'ExactIterBasedTrainLoop',
    'FusedAdamW',
    'GlobalBatchSizeHook',
    'GroupedOptimWrapperConstructor',
    'LayerDecayOptimWrapperConstructor',
    'MIMAccuracy',
    'MIMError',
    'NonFiniteHook',
    'PublicWeightsHook',
    'RunStopped',
    'RuntimeInfoHook',
    'TokenCacheHook',
    'TokenizerMetric',
    'WholeCheckpointHook',
    'add_common_arguments',
    'build_runner',
    'check_config',
    'choose_start',
    'load_config',
    'read_safely',
    'refuse_foreign_work_dir',
    'resume_exactly',
    'use_mixed_precision',
    'use_token_cache',
    'write_token_cache',
]
