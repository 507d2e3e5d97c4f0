"""bfloat16 on any device: the forward pass alone, and no scaling of the loss."""

import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

import beit_mm  # noqa: F401 - registers the wrapper


def test_matrices_multiply_in_bfloat16_and_weights_stay_in_float32():
    torch.manual_seed(0)
    model = nn.Linear(64, 64)
    optimizer = dict(type='SGD', lr=1.0)
    wrapper = build_optim_wrapper(
        model, dict(type='beit_mm.BFloat16OptimWrapper', optimizer=optimizer)
    )
    x, before = torch.randn(8, 64), model.weight.detach().clone()
    with wrapper.optim_context(model):
        output = model(x)
    assert output.dtype == torch.bfloat16
    assert model(x).dtype == torch.float32, 'only inside the context'
    wrapper.update_params(output.float().square().mean())
    assert model.weight.dtype == torch.float32
    # The step is that of the same products in float32, to bfloat16's three digits.
    weight = before.clone().requires_grad_()
    (x @ weight.T + model.bias.detach()).square().mean().backward()
    step = before - model.weight
    assert (step - weight.grad).norm() < 0.03 * weight.grad.norm()
    assert not torch.equal(step, weight.grad), 'bfloat16 rounds'
