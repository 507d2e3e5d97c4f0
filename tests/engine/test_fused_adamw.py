"""FusedAdamW is torch.optim.AdamW, whatever this PyTorch can fuse."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from beit_mm.engine import FusedAdamW
from beit_mm.engine.optimizing import fused_adamw as optimizers
from beit_mm.engine.optimizing.fused_adamw import fused_devices

SETTINGS = dict(lr=1e-2, betas=(0.8, 0.99), eps=1e-6, weight_decay=0.1)


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Linear(8, 2))


def train(model, optimizer, steps=5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        model(torch.randn(16, 6, generator=generator)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()


def groups(model):
    """As mmengine's constructors give them: groups with settings of their own."""
    return [dict(params=[p], weight_decay=0.0 if p.ndim == 1 else 0.1) for p in model.parameters()]


def assert_same_weights(model, other):
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.fixture(params=['fused', 'not fused'])
def devices(request, monkeypatch):
    """With and without a fused form for the CPU."""
    if request.param == 'not fused':
        monkeypatch.setattr(optimizers, 'fused_devices', lambda: ('cuda',))
    return optimizers.fused_devices()


@pytest.mark.parametrize('with_groups', [False, True])
def test_it_updates_as_torchs_adamw(devices, with_groups):
    ours, plain = small_model(), small_model()
    params = groups if with_groups else nn.Module.parameters
    optimizer = FusedAdamW(params(ours), **SETTINGS)
    assert bool(optimizer.param_groups[0]['fused']) == ('cpu' in devices)
    start = [p.detach().clone() for p in ours.parameters()]
    train(ours, optimizer)
    train(plain, torch.optim.AdamW(params(plain), fused=False, **SETTINGS))
    assert_same_weights(ours, plain)
    assert all((p - q).abs().max() > 0.01 for p, q in zip(ours.parameters(), start, strict=True))


def test_it_goes_on_from_an_optimizer_of_either_kind(devices):
    plain = small_model()
    first = torch.optim.AdamW(groups(plain), **SETTINGS)
    train(plain, first)
    state = copy.deepcopy(first.state_dict())
    train(plain, first, seed=2)
    for stored in (False, True, None):
        for group in state['param_groups']:
            group['fused'] = stored
        ours = small_model()
        train(ours, torch.optim.AdamW(groups(ours), **SETTINGS))
        second = FusedAdamW(groups(ours), **SETTINGS)
        second.load_state_dict(copy.deepcopy(state))
        train(ours, second, seed=2)
        assert_same_weights(ours, plain)
        assert {bool(g['fused']) for g in second.param_groups} == {'cpu' in devices}


def test_the_log_says_in_one_line_that_nothing_is_fused(monkeypatch):
    lines = []
    monkeypatch.setattr(optimizers, 'print_log', lambda message, logger: lines.append(message))
    FusedAdamW(groups(small_model()), **SETTINGS)
    assert len(lines) == (0 if 'cpu' in fused_devices() else 1)
    lines.clear()
    monkeypatch.setattr(optimizers, 'fused_devices', lambda: ('cuda',))
    FusedAdamW(groups(small_model()), **SETTINGS)
    (line,) = lines
    assert f'PyTorch {torch.__version__} has no fused AdamW for cpu' in line


def test_a_config_builds_it():
    wrapper = build_optim_wrapper(
        small_model(),
        dict(type='OptimWrapper', optimizer=dict(type='beit_mm.FusedAdamW', **SETTINGS)),
    )
    assert type(wrapper.optimizer) is FusedAdamW
    assert wrapper.optimizer.defaults['betas'] == (0.8, 0.99)


def test_no_recipe_takes_the_slower_one():
    """It takes several passes, and on a GPU waits for the gradient's norm in every step."""
    recipes = list((Path(__file__).parents[2] / 'configs').rglob('*.py'))
    fused = [path for path in recipes if "'beit_mm.FusedAdamW'" in path.read_text()]
    slower = [path.name for path in recipes if "'AdamW'" in path.read_text()]
    assert fused
    assert not slower
