"""LARS against its formula written out, and against timm's, where the two mean the same."""

import copy

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from timm.optim import Lars
from torch import nn

from beit_mm.engine import LARS

LR, MOMENTUM, DECAY, TRUST = 0.5, 0.9, 0.1, 0.02


def shapes():
    """A matrix, a bias, a kernel, and a matrix that begins at zero."""
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(*size, generator=generator) for size in ((4, 6), (4,), (2, 3, 2, 2))]
    return [nn.Parameter(tensor) for tensor in (*drawn, torch.zeros(3, 5))]


def gradients(step):
    generator = torch.Generator().manual_seed(step + 1)
    return [torch.randn(p.shape, generator=generator) for p in shapes()]


def run(optimizer, parameters, steps=4):
    for step in range(steps):
        for parameter, gradient in zip(parameters, gradients(step), strict=True):
            parameter.grad = gradient.clone()
        # Of the second step the matrix has no gradient that is not zero.
        if step == 1:
            parameters[0].grad.zero_()
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


def test_its_formula_written_out():
    found = run(LARS(own := shapes(), LR, MOMENTUM, DECAY, TRUST), own)
    for index, start in enumerate(shapes()):
        w, m = start.detach().double(), 0.0
        for step in range(4):
            g = gradients(step)[index].double() * (not (step == 1 and index == 0))
            if w.ndim > 1:
                u = g + DECAY * w
                lengths = w.pow(2).sum().sqrt(), u.pow(2).sum().sqrt()
                g = u * (TRUST * lengths[0] / lengths[1] if min(lengths) > 0 else 1)
            m = MOMENTUM * m + g
            w = w - LR * m
        torch.testing.assert_close(found[index].double(), w, rtol=1e-5, atol=1e-6)
        assert not torch.equal(found[index], start)


def test_timms_without_decay():
    """With decay timm divides by the sum of two lengths, not by the length of the sum."""
    found = run(LARS(own := shapes(), LR, MOMENTUM, trust_coefficient=TRUST), own)
    peers = shapes()
    others = [dict(params=[p], always_adapt=p.ndim > 1) for p in peers]
    expected = run(Lars(others, LR, MOMENTUM, trust_coeff=TRUST), peers)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_from_a_config_and_through_a_saved_state():
    optimizer = dict(type='beit_mm.LARS', lr=LR, weight_decay=DECAY)
    torch.manual_seed(0)
    models = [nn.Linear(5, 3), nn.Linear(5, 3)]
    models[1].load_state_dict(models[0].state_dict())
    wrappers = [build_optim_wrapper(m, dict(optimizer=optimizer)) for m in models]
    x = torch.randn(8, 5)
    for step in range(4):
        for wrapper, model in zip(wrappers, models, strict=True):
            wrapper.update_params(model(x).square().mean())
        if step == 1:
            wrappers[1].load_state_dict(copy.deepcopy(wrappers[0].state_dict()))
    assert torch.equal(models[0].weight, models[1].weight)
    assert wrappers[1].optimizer.state[models[1].weight]['momentum_buffer'].abs().sum() > 0


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(lr=-1), 'lr is -1; it must be at least 0'),
        (dict(lr=1, momentum=1), 'momentum is 1; it must be at least 0 and less than 1'),
        (dict(lr=1, weight_decay=float('nan')), 'weight_decay is nan'),
        (dict(lr=1, trust_coefficient=0), 'trust_coefficient is 0; it must be more than 0'),
    ],
)
def test_numbers_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LARS(shapes(), **settings)
