"""The fused attention, its readable twin, and the module around them."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from beit_mm.layers import attention as of_attention
from beit_mm.layers.attention import (
    Attention,
    fused_attention,
    in_place_attention,
    kernel_attention,
    plain_attention,
)
from beit_mm.layers.relative_position import RelativePositionBias, relative_positions
from beit_mm.machine import choose_half_attention

GRID = (2, 3)
LENGTH = 1 + GRID[0] * GRID[1]
POSITIONS = relative_positions(GRID, GRID, torch.device('cpu'))


def random_qkv(dtype, with_bias):
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(2, 4, LENGTH, 12, generator=generator, dtype=dtype, requires_grad=True)
        for _ in range(3)
    )
    bias = torch.randn(4, LENGTH, LENGTH, generator=generator, dtype=dtype, requires_grad=True)
    return [q, k, v, bias] if with_bias else [q, k, v]


def random_attention(grid=None, seed=0):
    torch.manual_seed(seed)
    attention = Attention(48, 4, grid)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.normal_(std=0.2)
    return attention


@pytest.mark.parametrize(
    ('attend', 'with_bias'),
    [
        (plain_attention, False),
        (plain_attention, True),
        (kernel_attention, False),
        (kernel_attention, True),
        (in_place_attention, False),
        (in_place_attention, True),
    ],
)
def test_attention_is_the_formula_written_out_place_by_place(attend, with_bias):
    inputs = [t.detach() for t in random_qkv(torch.float64, with_bias)]
    q, k, v = inputs[:3]
    expected = torch.zeros_like(v)
    for b in range(2):
        for head in range(4):
            for i in range(LENGTH):
                scores = [
                    sum((q[b, head, i] * k[b, head, j]).tolist()) / math.sqrt(12)
                    + (inputs[3][head, i, j].item() if with_bias else 0)
                    for j in range(LENGTH)
                ]
                total = sum(math.exp(score) for score in scores)
                for j, score in enumerate(scores):
                    expected[b, head, i] += math.exp(score) / total * v[b, head, j]
    torch.testing.assert_close(attend(*inputs), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(('dtype', 'atol'), [(torch.float64, 1e-12), (torch.float32, 5e-6)])
@pytest.mark.parametrize(
    ('fast', 'with_bias'),
    [
        (fused_attention, False),
        (fused_attention, True),
        # On a GPU fused_attention is this one, gradients of the bias too.
        (kernel_attention, True),
        (in_place_attention, False),
        (in_place_attention, True),
    ],
)
def test_fused_equals_plain_in_outputs_and_gradients(dtype, atol, fast, with_bias):
    results = []
    for attend in (fast, plain_attention):
        inputs = random_qkv(dtype, with_bias)
        output = attend(*inputs)
        assert output.dtype == dtype
        weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
        gradients = torch.autograd.grad((output * weights).sum(), inputs)
        assert all(gradient.abs().max() > 0.1 for gradient in gradients)
        results.append((output, *gradients))
    for fused, plain in zip(*results, strict=True):
        torch.testing.assert_close(fused, plain, rtol=0, atol=atol)


def test_fused_takes_a_float32_bias_with_half_precision_queries(monkeypatch):
    # So it is under autocast: the tables stay in float32, the projections do not. This machine's
    # kernel may forgive the difference where a GPU's does not, hence the look at what it is given.
    given = []
    kernel = F.scaled_dot_product_attention

    def recorded(q, k, v, attn_mask):
        given.append((attn_mask.dtype, tuple(attn_mask.shape)))
        return kernel(q, k, v, attn_mask=attn_mask)

    monkeypatch.setattr(F, 'scaled_dot_product_attention', recorded)
    q, k, v, bias = (t.detach() for t in random_qkv(torch.float32, True))
    half = [t.bfloat16() for t in (q, k, v)]
    output = fused_attention(*half, bias)
    assert given == [(torch.bfloat16, (1, 4, LENGTH, LENGTH))]
    assert output.dtype == torch.bfloat16
    expected = plain_attention(*(t.float() for t in half), bias.bfloat16().float())
    # bfloat16 keeps 8 bits: 1/256 of the largest values, which are below 3.
    torch.testing.assert_close(output.float(), expected, rtol=0, atol=3 / 256)


@pytest.mark.parametrize('grid', [GRID, (3, 4)], ids=['as made', 'resized'])
@pytest.mark.parametrize('shared', [False, True])
def test_rows_of_the_bias_that_kernels_get_lie_together(monkeypatch, grid, shared):
    # The fused kernels of a GPU refuse others, and PyTorch then computes all scores without a word.
    given = []
    kernel = F.scaled_dot_product_attention

    def recorded(q, k, v, attn_mask):
        given.append(attn_mask.stride(-1))
        return kernel(q, k, v, attn_mask=attn_mask)

    monkeypatch.setattr(F, 'scaled_dot_product_attention', recorded)
    attention = random_attention(None if shared else GRID)
    attention.attend = kernel_attention
    positions = relative_positions(GRID, grid, torch.device('cpu'))
    bias = RelativePositionBias(GRID, 4)(positions) if shared else None
    x = torch.randn(2, 1 + grid[0] * grid[1], 48)
    for dtype in (torch.float32, torch.bfloat16):
        with torch.autocast('cpu', torch.bfloat16, enabled=dtype == torch.bfloat16):
            attention(x, positions, bias)
    assert given == [1, 1]


@pytest.mark.parametrize('requires_grad', [False, True])
@pytest.mark.parametrize('autocast', [False, True])
def test_half_precision_differs_from_the_formula_by_rounding_alone(requires_grad, autocast):
    q, k, v, bias = (t.detach() for t in random_qkv(torch.float32, True))
    half = [t.bfloat16() for t in (q, k, v)]
    bias = bias.bfloat16().float().requires_grad_(requires_grad)
    with torch.autocast('cpu', dtype=torch.bfloat16, enabled=autocast):
        output = fused_attention(*half, bias)
    assert output.dtype == torch.bfloat16
    expected = plain_attention(*(t.float() for t in half), bias.detach())
    # Scores below 8 and weights below 1 are kept to 8 bits, like values below 3.
    torch.testing.assert_close(output.float(), expected, rtol=0, atol=6 / 256)
    if requires_grad:
        (gradient,) = torch.autograd.grad(output.float().square().sum(), bias)
        (exact,) = torch.autograd.grad(
            plain_attention(*(t.float() for t in half), bias).square().sum(), bias
        )
        assert (gradient - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize('has_products', [False, True])
@pytest.mark.parametrize('with_bias', [False, True])
def test_half_precision_trains_by_what_is_fast_on_the_processor(
    monkeypatch, has_products, with_bias
):
    taken = []
    for name in ('kernel_attention', 'in_place_attention'):
        form = getattr(of_attention, name)
        monkeypatch.setattr(
            of_attention,
            name,
            lambda *args, name=name, form=form: taken.append(name) or form(*args),
        )
    monkeypatch.setattr(of_attention, 'HALF', choose_half_attention(has_products))
    *qkv, bias = (t.detach() for t in random_qkv(torch.float32, True))
    q, k, v = (t.bfloat16().requires_grad_() for t in qkv)
    bias = bias.bfloat16().float().requires_grad_() if with_bias else None
    inputs = [q, k, v, *([bias] if with_bias else [])]
    output = fused_attention(q, k, v, bias)
    assert taken == ['in_place_attention' if has_products else 'kernel_attention']
    gradients = torch.autograd.grad(output.float().square().sum(), inputs)
    exact_inputs = [t.detach().float().requires_grad_() for t in inputs]
    exact_output = plain_attention(*exact_inputs)
    exact = torch.autograd.grad(exact_output.square().sum(), exact_inputs)
    assert output.dtype == torch.bfloat16
    for value, expected in zip((output, *gradients), (exact_output, *exact), strict=True):
        assert (value.float() - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize('kind', ['no bias', 'own table', 'shared bias'])
def test_module_gives_the_same_with_the_plain_twin_in_its_place(kind):
    grid = GRID if kind == 'own table' else None
    fused, plain = random_attention(grid), random_attention(grid)
    plain.attend = plain_attention
    calls = []

    def counted(*args):
        calls.append(args)
        return fused_attention(*args)

    fused.attend = counted
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, LENGTH, 48, generator=generator)
    weights = torch.randn(2, LENGTH, 48, generator=generator)
    shared = torch.randn(4, LENGTH, LENGTH, generator=generator)
    shared = shared if kind == 'shared bias' else None
    outputs = [module(x, POSITIONS, shared) for module in (fused, plain)]
    # Unless the module really goes through `attend`, the comparison says nothing.
    assert len(calls) == 1
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-5)
    for output in outputs:
        (output * weights).sum().backward()
    for (name, a), b in zip(fused.named_parameters(), plain.parameters(), strict=True):
        assert a.grad.abs().max() > 1e-3, name
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.parametrize('own_table', [False, True])
def test_module_equals_torchs_multihead_attention(own_table):
    attention = random_attention(GRID if own_table else None).double()
    bias = torch.randn(4, LENGTH, LENGTH, dtype=torch.float64)
    peer = nn.MultiheadAttention(48, 4, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        peer.in_proj_weight.copy_(attention.qkv.weight)
        peer.in_proj_bias.copy_(torch.cat([attention.q_bias, torch.zeros(48), attention.v_bias]))
        peer.out_proj.load_state_dict(attention.proj.state_dict())
    x = torch.randn(2, LENGTH, 48, dtype=torch.float64)
    output = attention(x, POSITIONS, None if own_table else bias)
    if own_table:
        bias = attention.rel_pos_bias.table.T[:, POSITIONS.table_rows]
    # MultiheadAttention wants a mask an image and head, and adds float masks to the scores.
    expected, _ = peer(x, x, x, attn_mask=bias.repeat(2, 1, 1))
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)


def test_keys_have_no_bias_and_the_first_projection_none_of_its_own():
    attention = Attention(48, 4)
    assert {name: tuple(p.shape) for name, p in attention.named_parameters()} == {
        'q_bias': (48,),
        'v_bias': (48,),
        'qkv.weight': (144, 48),
        'proj.weight': (48, 48),
        'proj.bias': (48,),
    }


def test_width_that_heads_do_not_divide_is_refused_by_both_numbers():
    with pytest.raises(ValueError, match=r'50.*4'):
        Attention(50, 4)


class LowRank(nn.Module):
    """A layer and a product of low rank beside it (LoRA); ``weight`` is the layer's, as in peft."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.down = nn.Parameter(torch.randn(2, layer.in_features))
        self.up = nn.Parameter(torch.randn(layer.out_features, 2))

    @property
    def weight(self):
        return self.layer.weight

    @property
    def bias(self):
        return self.layer.bias

    def forward(self, x):
        return self.layer(x) + x @ self.down.T @ self.up.T


@pytest.mark.parametrize('key_bias', [False, True])
def test_what_stands_in_the_place_of_the_projection_counts(key_bias):
    torch.manual_seed(0)
    attention = Attention(48, 4, key_bias=key_bias).double()
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.3)
    merged = copy.deepcopy(attention)
    x = torch.randn(2, LENGTH, 48, dtype=torch.float64)
    before = attention(x)
    attention.qkv = LowRank(attention.qkv).double()
    with torch.no_grad():
        merged.qkv.weight += attention.qkv.up @ attention.qkv.down
    torch.testing.assert_close(attention(x), merged(x))
    assert not torch.allclose(attention(x), before, atol=1e-2)
