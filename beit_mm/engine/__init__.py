"""Training machinery that mmengine lacks: hooks, metrics, configuration checks."""

from .hooks import DVAEAnnealingHook, GlobalBatchSizeHook
from .metrics import MIMAccuracy, TokenizerMetric

__all__ = ['DVAEAnnealingHook', 'GlobalBatchSizeHook', 'MIMAccuracy', 'TokenizerMetric']
