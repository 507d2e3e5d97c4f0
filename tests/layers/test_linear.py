"""The fast linear layer and its plain twin, F.linear."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from beit_mm.layers import linear as module
from beit_mm.layers.linear import MIN_PRODUCTS, Linear, linear
from beit_mm.machine import Choice

# Large enough for the fast way: 3 * 61 rows of 400 to 500 columns.
SHAPE = (3, 61, 400)
OUT = 500
needs_onednn = pytest.mark.skipif(
    not module.HAS_ONEDNN, reason='this build of PyTorch has no oneDNN linear'
)


@pytest.fixture
def calls(monkeypatch):
    """Shapes of what oneDNN is given, as if this were a processor that gains by it."""
    monkeypatch.setattr(module, 'PRODUCTS', Choice('products', 'oneDNN', 'a test'))
    seen = []
    product = module._product

    def counted(x, weight, bias=None):
        seen.append((tuple(x.shape), tuple(weight.shape)))
        return product(x, weight, bias)

    monkeypatch.setattr(module, '_product', counted)
    return seen


def random_inputs(with_bias=True, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shapes = [SHAPE, (OUT, SHAPE[-1]), *([(OUT,)] if with_bias else [])]
    return [
        torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes
    ]


def outputs_and_gradients(function, inputs, weights):
    output = function(*inputs)
    return [output, *torch.autograd.grad((output * weights).sum(), inputs)]


def test_the_shapes_here_are_large_enough():
    assert SHAPE[0] * SHAPE[1] * SHAPE[2] * OUT >= MIN_PRODUCTS


@needs_onednn
@pytest.mark.parametrize('with_bias', [False, True])
def test_it_equals_the_plain_twin_in_outputs_and_gradients(calls, with_bias):
    inputs = random_inputs(with_bias)
    weights = torch.randn(*SHAPE[:-1], OUT, generator=torch.Generator().manual_seed(1))
    fast = outputs_and_gradients(linear, inputs, weights)
    assert len(calls) == 3
    exact = outputs_and_gradients(F.linear, [t.double() for t in inputs], weights.double())
    for ours, expected in zip(fast, exact, strict=True):
        assert ours.dtype == torch.float32
        assert ours.shape == expected.shape
        # Sums of up to 500 products of numbers around 1, whose sizes go up to 100.
        torch.testing.assert_close(ours.double(), expected, rtol=0, atol=2e-4)


@needs_onednn
def test_it_takes_strided_inputs_and_gradients():
    x, weight, bias = random_inputs()
    weights = torch.randn(OUT, *SHAPE[1::-1], generator=torch.Generator().manual_seed(1))

    def transposed(function):
        return lambda x, weight, bias: function(x.transpose(0, 1), weight, bias).permute(2, 0, 1)

    inputs = [x, weight, bias]
    fast = outputs_and_gradients(transposed(linear), inputs, weights)
    plain = outputs_and_gradients(transposed(F.linear), inputs, weights)
    for ours, expected in zip(fast, plain, strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=2e-4)


@needs_onednn
@pytest.mark.parametrize('frozen', [0, 1, 2])
def test_a_frozen_input_gets_no_gradient_and_costs_no_product(calls, frozen):
    inputs = random_inputs()
    inputs[frozen].requires_grad_(False)
    linear(*inputs).square().sum().backward()
    assert inputs[frozen].grad is None
    assert all(t.grad is not None for t in inputs if t.requires_grad)
    assert len(calls) == (3 if frozen == 2 else 2)


@pytest.mark.parametrize(
    ('rows', 'dtype', 'autocast'),
    [(2, torch.float32, False), (200, torch.float64, False), (200, torch.float32, True)],
)
def test_small_and_other_products_stay_with_the_plain_twin(calls, rows, dtype, autocast):
    x = torch.randn(rows, 400, dtype=dtype)
    weight = torch.randn(500, 400, dtype=dtype)
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast):
        output, expected = linear(x, weight), F.linear(x, weight)
    assert output.dtype == expected.dtype
    assert output.equal(expected)
    assert calls == []


@needs_onednn
def test_the_module_loads_and_computes_as_torchs(calls):
    torch.manual_seed(0)
    plain, fast = nn.Linear(400, 500), Linear(400, 500)
    fast.load_state_dict(plain.state_dict())
    x = torch.randn(SHAPE)
    torch.testing.assert_close(fast(x), plain(x), rtol=0, atol=1e-5)
    assert len(calls) == 1


@needs_onednn
def test_what_follows_a_pointwise_convolution_may_write_in_place(calls):
    """Channels-last images in training, an in-place ReLU behind the convolution."""
    torch.manual_seed(0)
    conv = module.PointwiseConv(256, 512, 1).to(memory_format=torch.channels_last)
    images = torch.randn(2, 256, 16, 16).contiguous(memory_format=torch.channels_last)
    F.relu(conv(images), inplace=True).sum().backward()
    expected = nn.Conv2d(256, 512, 1)
    expected.load_state_dict(conv.state_dict())
    F.relu(expected(images.contiguous())).sum().backward()
    torch.testing.assert_close(conv.weight.grad, expected.weight.grad)
    assert not calls
    with torch.no_grad():
        torch.testing.assert_close(conv(images), expected(images))
    assert calls
