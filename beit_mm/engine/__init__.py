"""Training machinery that mmengine lacks: hooks, metrics, configuration checks, launching."""

from .broken_images import BrokenImagesHook, RunStopped
from .checkpointing import WholeCheckpointHook, choose_start
from .config_check import ConfigError, check_config
from .exact_resume import ExactEpochBasedTrainLoop, ExactIterBasedTrainLoop, resume_exactly
from .hooks import CodebookHook, DVAEAnnealingHook, GlobalBatchSizeHook
from .launch import add_common_arguments, build_runner, load_config, refuse_foreign_work_dir
from .loading import PublicWeightsHook
from .metrics import MIMAccuracy, TokenizerMetric
from .non_finite import NonFiniteHook

__all__ = [
    'BrokenImagesHook',
    'CodebookHook',
    'ConfigError',
    'DVAEAnnealingHook',
    'ExactEpochBasedTrainLoop',
    'ExactIterBasedTrainLoop',
    'GlobalBatchSizeHook',
    'MIMAccuracy',
    'NonFiniteHook',
    'PublicWeightsHook',
    'RunStopped',
    'TokenizerMetric',
    'WholeCheckpointHook',
    'add_common_arguments',
    'build_runner',
    'check_config',
    'choose_start',
    'load_config',
    'refuse_foreign_work_dir',
    'resume_exactly',
]
