"""Training machinery that mmengine lacks: hooks, metrics, learning rates, checks, launching."""

from ..component import ConfigError
from .caching.use_tokens import TokenCacheHook, use_token_cache
from .caching.write_components import write_patch_components
from .caching.write_tokens import write_token_cache
from .checking.config_check import check_config
from .measuring.metrics import MIMAccuracy, MIMError, TokenizerMetric
from .optimizing.fused_adamw import FusedAdamW
from .optimizing.lars import LARS
from .optimizing.layer_decay import LayerDecayOptimWrapperConstructor
from .optimizing.mixed_precision import BFloat16OptimWrapper, use_mixed_precision
from .optimizing.param_groups import GroupedOptimWrapperConstructor
from .running.broken_images import BrokenImagesHook
from .running.exact_resume import ExactEpochBasedTrainLoop, ExactIterBasedTrainLoop, resume_exactly
from .running.global_batch import GlobalBatchSizeHook
from .running.image_changes import ImageChangesHook
from .running.non_finite import NonFiniteHook
from .running.public_weights import PublicWeightsHook, read_safely
from .running.reconstructions_hook import ReconstructionsHook
from .running.resumed_changes import ResumedChangesHook
from .running.run_stopped import RunStopped
from .running.runtime_info import RuntimeInfoHook
from .running.tokenizer_hooks import CodebookHook, DVAEAnnealingHook
from .running.tracker_backends import MLflowVisBackend, WandbVisBackend
from .running.whole_checkpoints import WholeCheckpointHook
from .starting.launch import (
    add_common_arguments,
    build_runner,
    choose_start,
    load_config,
    refuse_foreign_work_dir,
    train,
)
from .starting.measured_ranges import measure_ranges
from .starting.telling import told_in_a_line
from .starting.testing import average_over_views, dump_predictions
from .starting.tracking import track

__all__ = [
    'LARS',
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
    'ImageChangesHook',
    'LayerDecayOptimWrapperConstructor',
    'MIMAccuracy',
    'MIMError',
    'MLflowVisBackend',
    'NonFiniteHook',
    'PublicWeightsHook',
    'ReconstructionsHook',
    'ResumedChangesHook',
    'RunStopped',
    'RuntimeInfoHook',
    'TokenCacheHook',
    'TokenizerMetric',
    'WandbVisBackend',
    'WholeCheckpointHook',
    'add_common_arguments',
    'average_over_views',
    'build_runner',
    'check_config',
    'choose_start',
    'dump_predictions',
    'load_config',
    'measure_ranges',
    'read_safely',
    'refuse_foreign_work_dir',
    'resume_exactly',
    'told_in_a_line',
    'track',
    'train',
    'use_mixed_precision',
    'use_token_cache',
    'write_patch_components',
    'write_token_cache',
]
