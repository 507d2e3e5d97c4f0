"""Mixed precision on whatever the machine has."""

from collections.abc import Container, Iterator
from contextlib import contextmanager

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import nn

from ...component import ConfigError
from ...layers.attention import HALF_TRAINING
from ...registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """Forward pass under bfloat16 autocast, on CPUs and GPUs alike; weights stay in float32.

    bfloat16 has float32's range, so that no loss has to be scaled. mmengine's ``AmpOptimWrapper``
    does not start on a CPU. What a CPU gains depends on it: AMD's with AVX512-BF16 train up to
    twice as fast as in float32, Intel's without AMX take 1.7 times as long, which is warned of.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Where the loss is computed."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield


def use_mixed_precision(cfg: Config, asked: Container[str] = ()) -> None:
    """Have a config train in mixed precision: mmengine's on an accelerator, ours on a CPU.

    Args:
        cfg: A whole config, changed in place. Of what it has for a GPU, a CPU takes nothing.
        asked: Keys that a command line sets, whose values are to count.

    Raises:
        ConfigError: If one of them would not.
    """
    before, on_cpu = dict(cfg.optim_wrapper), get_device() == 'cpu'
    if on_cpu:
        cfg.optim_wrapper.type = 'beit_mm.BFloat16OptimWrapper'
        for setting in ('loss_scale', 'dtype'):
            cfg.optim_wrapper.pop(setting, None)
    else:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    now = {'dtype': 'bfloat16', **cfg.optim_wrapper} if on_cpu else cfg.optim_wrapper
    for name, value in before.items():
        key = f'optim_wrapper.{name}'
        if key in asked and now.get(name) != value:
            why = 'on a CPU --amp is bfloat16, and scales no loss' if on_cpu else '--amp sets it'
            raise ConfigError(f'{key}={value} and --amp are both given; {why}: leave one out')


def slow_precision(optim_wrapper: object, device: torch.device) -> str | None:
    """What to say of a run in bfloat16 that float32 would make faster; None of others."""
    if not isinstance(optim_wrapper, BFloat16OptimWrapper) or device.type != 'cpu':
        return None
    if HALF_TRAINING.chosen == 'faster':
        return None
    return (
        f'bfloat16 is slower than float32 here ({HALF_TRAINING.why}): train without --amp, or '
        'with --cfg-options optim_wrapper.type=OptimWrapper'
    )
