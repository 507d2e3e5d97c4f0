"""GELU in place beside its plain twin."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from beit_mm.layers.gelu import gelu_in_place


def feed_forward(x, weight, gelu):
    """Two linear layers around a GELU, as in a block."""
    second = nn.Linear(12, 5)
    with torch.no_grad():
        second.weight.copy_(torch.linspace(-1, 1, 60).view(5, 12))
        second.bias.zero_()
    second = second.to(x.dtype)
    return second(gelu(F.linear(x, weight), second)), second


def gradients(gelu, dtype, watch=None):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 7, 6, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(12, 6, generator=generator).to(dtype).requires_grad_()
    output, second = feed_forward(x, weight, gelu)
    return [output, *torch.autograd.grad(output.square().sum(), [x, weight, second.weight])]


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16])
def test_it_equals_the_plain_twin_bit_for_bit(dtype):
    ours = gradients(gelu_in_place, dtype)
    plain = gradients(lambda x, _: F.gelu(x), dtype)
    for one, other in zip(ours, plain, strict=True):
        assert torch.equal(one, other)


def test_the_gradient_is_written_where_it_came():
    x = torch.randn(4, requires_grad=True)
    grad = torch.ones(4)
    (result,) = torch.autograd.grad(gelu_in_place(x, nn.Linear(4, 1)), x, grad)
    assert result.data_ptr() == grad.data_ptr()


def test_whoever_watches_the_layers_gradients_sees_the_right_ones():
    seen = []
    layer = nn.Linear(4, 1)
    layer.register_full_backward_hook(lambda module, given, came: seen.append(given[0]))
    x = torch.randn(2, 4, requires_grad=True)
    layer(gelu_in_place(x, layer)).sum().backward()
    assert torch.equal(seen[0], layer.weight.detach().expand(2, 4))


def test_a_kept_gradient_of_the_output_is_right():
    x, layer = torch.randn(2, 4, requires_grad=True), nn.Linear(4, 1)
    hidden = gelu_in_place(x, layer)
    hidden.retain_grad()
    layer(hidden).sum().backward()
    assert torch.equal(hidden.grad, layer.weight.detach().expand(2, 4))
