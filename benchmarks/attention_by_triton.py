"""Attention with a bias that the batch shares, as Triton kernels for at most 256 positions.

At 197 positions a row of scores fits into registers, so no kernel needs an online softmax; scores
are computed again in the backward pass. The gradient of the bias is summed over the batch inside
the kernel that makes the queries' gradients, a part of the batch in each program, without atomics,
so that it repeats bit for bit. q, k and v are read from the one tensor that a block computes, and
their gradients are written into one, so nothing is stacked.

Off a GPU the kernels run in Triton's interpreter, slowly: `TRITON_INTERPRET=1` in the environment.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

# Images of a part of the batch, over which one program sums the bias' gradient.
BATCH_PART = 16
MOST_POSITIONS = 256


@triton.jit
def forward_kernel(
    qkv, bias, out, lse, scale, heads, length,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Output and log of the softmax's sum, for ROWS queries of one image and head."""
    image, head = tl.program_id(1) // heads, tl.program_id(1) % heads
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns, widths = tl.arange(0, COLUMNS), tl.arange(0, WIDTH)
    token = 3 * heads * WIDTH
    start = qkv + image.to(tl.int64) * length * token + head * WIDTH
    row_there, column_there = rows < length, columns < length
    q_at = start + rows[:, None] * token + widths[None, :]
    k_at = start + heads * WIDTH + columns[:, None] * token + widths[None, :]
    q = tl.load(q_at, mask=row_there[:, None], other=0.0)
    k = tl.load(k_at, mask=column_there[:, None], other=0.0)
    v = tl.load(k_at + heads * WIDTH, mask=column_there[:, None], other=0.0)
    bias_at = bias + (head * length + rows[:, None]) * length + columns[None, :]
    both = row_there[:, None] & column_there[None, :]
    scores = tl.dot(q, tl.trans(k), input_precision='ieee') * scale
    scores += tl.load(bias_at, mask=both, other=0.0).to(tl.float32)
    scores = tl.where(column_there[None, :], scores, float('-inf'))
    largest = tl.max(scores, axis=1)
    weights = tl.exp(scores - largest[:, None])
    total = tl.sum(weights, axis=1)
    mixed = tl.dot(weights.to(v.dtype), v, input_precision='ieee') / total[:, None]
    out_at = out + (image.to(tl.int64) * length + rows[:, None]) * heads * WIDTH
    tl.store(out_at + head * WIDTH + widths[None, :], mixed.to(v.dtype), mask=row_there[:, None])
    tl.store(lse + tl.program_id(1) * length + rows, largest + tl.log(total), mask=row_there)


@triton.jit
def queries_and_bias_kernel(
    qkv, bias, out, lse, grad, grad_qkv, grad_bias, delta, scale, batch, heads, length,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDTH: tl.constexpr, PART: tl.constexpr,
):  # fmt: skip
    """Gradient of ROWS queries of one head for PART images, and of the bias, summed over these."""
    head, part = tl.program_id(1), tl.program_id(2)
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns, widths = tl.arange(0, COLUMNS), tl.arange(0, WIDTH)
    token = 3 * heads * WIDTH
    row_there, column_there = rows < length, columns < length
    both = row_there[:, None] & column_there[None, :]
    bias_at = (head * length + rows[:, None]) * length + columns[None, :]
    added = tl.load(bias + bias_at, mask=both, other=0.0).to(tl.float32)
    bias_sum = tl.zeros((ROWS, COLUMNS), tl.float32)
    for image in range(part * PART, tl.minimum((part + 1) * PART, batch)):
        start = image * length * token + head * WIDTH
        q_at = start + rows[:, None] * token + widths[None, :]
        k_at = start + heads * WIDTH + columns[:, None] * token + widths[None, :]
        q = tl.load(qkv + q_at, mask=row_there[:, None], other=0.0)
        k = tl.load(qkv + k_at, mask=column_there[:, None], other=0.0)
        v = tl.load(qkv + k_at + heads * WIDTH, mask=column_there[:, None], other=0.0)
        out_at = (image * length + rows[:, None]) * heads * WIDTH + head * WIDTH + widths[None, :]
        o = tl.load(out + out_at, mask=row_there[:, None], other=0.0)
        do = tl.load(grad + out_at, mask=row_there[:, None], other=0.0)
        line = (image * heads + head) * length + rows
        norm = tl.load(lse + line, mask=row_there, other=0.0)
        paid = tl.sum(o.to(tl.float32) * do.to(tl.float32), axis=1)
        tl.store(delta + line, paid, mask=row_there)
        scores = tl.dot(q, tl.trans(k), input_precision='ieee') * scale + added
        weights = tl.where(both, tl.exp(scores - norm[:, None]), 0.0)
        d_weights = tl.dot(do, tl.trans(v), input_precision='ieee')
        d_scores = weights * (d_weights - paid[:, None])
        bias_sum += d_scores
        dq = tl.dot(d_scores.to(k.dtype), k, input_precision='ieee') * scale
        tl.store(grad_qkv + q_at, dq.to(k.dtype), mask=row_there[:, None])
    tl.store(grad_bias + part * heads * length * length + bias_at, bias_sum, mask=both)


@triton.jit
def keys_and_values_kernel(
    qkv, bias, lse, grad, grad_qkv, delta, scale, heads, length,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Gradients of ROWS keys and values of one image and head; COLUMNS are the queries."""
    image, head = tl.program_id(1) // heads, tl.program_id(1) % heads
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns, widths = tl.arange(0, COLUMNS), tl.arange(0, WIDTH)
    token = 3 * heads * WIDTH
    start = image.to(tl.int64) * length * token + head * WIDTH
    row_there, column_there = rows < length, columns < length
    both = row_there[:, None] & column_there[None, :]
    k_at = start + heads * WIDTH + rows[:, None] * token + widths[None, :]
    q_at = start + columns[:, None] * token + widths[None, :]
    k = tl.load(qkv + k_at, mask=row_there[:, None], other=0.0)
    v = tl.load(qkv + k_at + heads * WIDTH, mask=row_there[:, None], other=0.0)
    q = tl.load(qkv + q_at, mask=column_there[:, None], other=0.0)
    out_at = (image.to(tl.int64) * length + columns[:, None]) * heads * WIDTH
    do = tl.load(
        grad + out_at + head * WIDTH + widths[None, :], mask=column_there[:, None], other=0.0
    )
    line = tl.program_id(1) * length + columns
    norm = tl.load(lse + line, mask=column_there, other=0.0)
    paid = tl.load(delta + line, mask=column_there, other=0.0)
    # The bias of query and key, transposed.
    bias_at = bias + (head * length + columns[None, :]) * length + rows[:, None]
    scores = tl.dot(k, tl.trans(q), input_precision='ieee') * scale
    scores += tl.load(bias_at, mask=both, other=0.0).to(tl.float32)
    weights = tl.where(both, tl.exp(scores - norm[None, :]), 0.0)
    dv = tl.dot(weights.to(do.dtype), do, input_precision='ieee')
    d_weights = tl.dot(v, tl.trans(do), input_precision='ieee')
    d_scores = weights * (d_weights - paid[None, :])
    dk = tl.dot(d_scores.to(q.dtype), q, input_precision='ieee') * scale
    tl.store(grad_qkv + k_at, dk.to(q.dtype), mask=row_there[:, None])
    tl.store(grad_qkv + k_at + heads * WIDTH, dv.to(q.dtype), mask=row_there[:, None])


def _blocks(length: int) -> tuple[int, dict]:
    """Rows of a program, and what the kernels need to know as they are compiled."""
    columns = max(16, triton.next_power_of_2(length))
    rows = min(32, columns)
    return triton.cdiv(length, rows), dict(ROWS=rows, COLUMNS=columns, num_warps=8)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx, qkv: Tensor, bias: Tensor) -> Tensor:
        batch, length, _, heads, width = qkv.shape
        blocks, settings = _blocks(length)
        out = qkv.new_empty(batch, length, heads, width)
        lse = torch.empty(batch, heads, length, device=qkv.device)
        scale = 1 / math.sqrt(width)
        forward_kernel[(blocks, batch * heads)](
            qkv, bias, out, lse, scale, heads, length, WIDTH=width, **settings
        )
        ctx.save_for_backward(qkv, bias, out, lse)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        qkv, bias, out, lse = ctx.saved_tensors
        batch, length, _, heads, width = qkv.shape
        blocks, settings = _blocks(length)
        grad, scale = grad.contiguous(), 1 / math.sqrt(width)
        parts = triton.cdiv(batch, BATCH_PART)
        grad_qkv, delta = torch.empty_like(qkv), torch.empty_like(lse)
        grad_bias = torch.empty(parts, heads, length, length, device=qkv.device)
        queries_and_bias_kernel[(blocks, heads, parts)](
            qkv, bias, out, lse, grad, grad_qkv, grad_bias, delta, scale, batch, heads, length,
            WIDTH=width, PART=BATCH_PART, **settings,
        )  # fmt: skip
        keys_and_values_kernel[(blocks, batch * heads)](
            qkv, bias, lse, grad, grad_qkv, delta, scale, heads, length, WIDTH=width, **settings
        )
        return grad_qkv, grad_bias.sum(0).to(bias.dtype)


def attention_by_triton(qkv: Tensor, bias: Tensor) -> Tensor:
    """Softmax attention with a bias: the kernels' entry.

    Args:
        qkv: (B, N, 3, heads, d), contiguous; N at most 256, d a power of two from 16.
        bias: (heads, N, N), contiguous.

    Returns:
        (B, heads, N, d), a view of (B, N, heads, d).
    """
    if qkv.shape[1] > MOST_POSITIONS:
        raise ValueError(f'{qkv.shape[1]} positions, more than {MOST_POSITIONS}')
    return _Attention.apply(qkv.contiguous(), bias.contiguous()).transpose(1, 2)
