"""Mixed precision on whatever the machine has."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import nn

from ..registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Mixed precision on a CPU, where mmengine's ``AmpOptimWrapper`` does not start.

    The forward pass runs in bfloat16 where torch's autocast allows it. bfloat16 has float32's
    range, so the loss is not scaled.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Where the loss is computed."""
        with super().optim_context(model), torch.autocast('cpu', torch.bfloat16):
            yield


def use_mixed_precision(cfg: Config) -> None:
    """Have a config train in mixed precision: mmengine's on an accelerator, ours on a CPU."""
    if get_device() != 'cpu':
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
        return
    cfg.optim_wrapper.type = 'beit_mm.CPUAmpOptimWrapper'
    for setting in ('loss_scale', 'dtype'):
        cfg.optim_wrapper.pop(setting, None)
