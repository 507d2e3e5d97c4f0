"""Mixed precision: bfloat16 in the forward pass on a CPU, mmengine's own elsewhere."""

import contextlib

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from torch import nn

from beit_mm.component import ConfigError
from beit_mm.engine import use_mixed_precision
from beit_mm.engine.optimizing import mixed_precision as amp_module
from beit_mm.machine import Processor, judge_half


class Regression(BaseModel):
    """One linear layer, which remembers what it computed in."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(16, 4)
        nn.init.constant_(self.linear.weight, 1 / 3)

    def forward(self, inputs, mode='tensor'):
        outputs = self.linear(inputs)
        self.dtype = outputs.dtype
        return dict(loss=outputs.float().square().mean())


def config(**changes) -> Config:
    optimizer = dict(type='SGD', lr=0.1)
    return Config(dict(optim_wrapper=dict(type='OptimWrapper', optimizer=optimizer, **changes)))


@pytest.mark.parametrize(
    'before', [dict(), dict(loss_scale='dynamic', dtype='float16')], ids=['plain', 'of a GPU']
)
def test_on_a_cpu_the_forward_pass_is_in_bfloat16(before, monkeypatch):
    monkeypatch.setattr(amp_module, 'get_device', lambda: 'cpu')
    cfg = config(**before, clip_grad=dict(max_norm=1e9))
    use_mixed_precision(cfg)
    exact, mixed = Regression(), Regression()
    mixed.load_state_dict(exact.state_dict())
    start = exact.linear.weight.detach().clone()
    inputs = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    wrapper = build_optim_wrapper(exact, config().optim_wrapper)
    exact.train_step(dict(inputs=inputs), wrapper)
    wrapper = build_optim_wrapper(mixed, cfg.optim_wrapper)
    losses = mixed.train_step(dict(inputs=inputs), wrapper)

    assert (exact.dtype, mixed.dtype) == (torch.float32, torch.bfloat16)
    assert mixed.linear.weight.dtype == losses['loss'].dtype == torch.float32
    # bfloat16 keeps eight bits of a number.
    step, expected = mixed.linear.weight - start, exact.linear.weight - start
    assert not torch.equal(step, expected)
    torch.testing.assert_close(step, expected, rtol=0.02, atol=0.01 * expected.abs().max().item())


def test_on_a_gpu_it_is_mmengines(monkeypatch):
    monkeypatch.setattr(amp_module, 'get_device', lambda: 'cuda')
    cfg = config()
    use_mixed_precision(cfg)
    assert (cfg.optim_wrapper.type, cfg.optim_wrapper.loss_scale) == ('AmpOptimWrapper', 'dynamic')
    cfg = config(loss_scale=512.0)
    use_mixed_precision(cfg)
    assert cfg.optim_wrapper.loss_scale == 512.0


@pytest.mark.parametrize(
    ('device', 'asked', 'is_refused'),
    [
        ('cpu', dict(type='OptimWrapper'), True),
        ('cuda', dict(type='OptimWrapper'), True),
        ('cpu', dict(dtype='float16'), True),
        ('cuda', dict(dtype='float16'), False),
        ('cpu', dict(dtype='bfloat16'), False),
        ('cpu', dict(loss_scale=512.0), True),
        ('cuda', dict(loss_scale=512.0), False),
        ('cpu', dict(accumulative_counts=2), False),
    ],
)
def test_what_the_command_line_asks_for_is_not_lost(monkeypatch, device, asked, is_refused):
    monkeypatch.setattr(amp_module, 'get_device', lambda: device)
    cfg = config()
    cfg.optim_wrapper.update(asked)
    ((name, value),) = asked.items()
    told = pytest.raises(ConfigError, match=rf'optim_wrapper\.{name}={value} and --amp are both')
    with told if is_refused else contextlib.nullcontext():
        use_mixed_precision(cfg, {f'optim_wrapper.{name}': value})


@pytest.mark.parametrize(
    ('vendor', 'has_amx', 'device', 'warned'),
    [
        ('GenuineIntel', False, 'cpu', True),
        ('GenuineIntel', False, 'cuda', False),
        ('GenuineIntel', True, 'cpu', False),
        ('AuthenticAMD', False, 'cpu', False),
    ],
)
def test_a_run_that_float32_would_make_faster_is_warned_of(
    monkeypatch, vendor, has_amx, device, warned
):
    judged = judge_half(Processor(vendor, 'AVX512', has_amx), has_products=True)
    monkeypatch.setattr(amp_module, 'HALF_TRAINING', judged)
    monkeypatch.setattr(amp_module, 'get_device', lambda: 'cpu')
    cfg, device = config(), torch.device(device)
    exact = build_optim_wrapper(Regression(), cfg.optim_wrapper)
    assert amp_module.slow_precision(exact, device) is None
    use_mixed_precision(cfg)
    mixed = build_optim_wrapper(Regression(), cfg.optim_wrapper)
    assert ('--amp' in (amp_module.slow_precision(mixed, device) or '')) == warned
