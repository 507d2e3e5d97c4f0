"""Multi-head self-attention with an additive position bias."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..machine import choose_half_attention, judge_half, processor
from .linear import Linear, linear
from .relative_position import RelativePositionBias, RelativePositions


def _has_half_products() -> bool:
    ask = getattr(torch.ops.mkldnn, '_is_mkldnn_bf16_supported', None)
    return torch.backends.mkldnn.is_available() and ask is not None and ask()


HALF = choose_half_attention(_has_half_products())
# Whether training in it is faster here at all.
HALF_TRAINING = judge_half(processor(), _has_half_products())


def plain_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """The formula as the paper writes it: softmax(q k^T / sqrt(d) + bias) v.

    It is the readable twin of :func:`fused_attention`, and what that one is tested against.

    Args:
        q, k, v: (B, heads, N, d).
        bias: (heads, N, N), or None.

    Returns:
        (B, heads, N, d).
    """
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if bias is not None:
        scores = scores + bias
    return scores.softmax(dim=-1) @ v


def kernel_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """:func:`plain_attention` by PyTorch's fused kernels; same arguments and result."""
    if bias is not None:
        # The kernels want a bias of the queries' dtype and, to read it in place, of batch size 1.
        bias = bias.to(q.dtype)[None]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def in_place_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """:func:`plain_attention` on the CPU without a second copy of the scores, of q's dtype."""
    # The softmax sums in float32 whatever it reads; autocast would copy its input and its result.
    with torch.autocast('cpu', enabled=False):
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        if bias is not None:
            scores.add_(bias.to(q.dtype))
        return scores.softmax(dim=-1) @ v


def fused_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """:func:`plain_attention` by what is fastest; same arguments, result of the queries' dtype.

    PyTorch's fused kernels on the CPU do not compute a bias' gradient. In bfloat16 their other
    gradients, and what PyTorch takes where they do not serve, cost up to eight times the plain
    formula on processors that multiply bfloat16, and a sixth of it on others: see ``HALF``.
    """
    if q.device.type == 'cpu':
        of_bias = bias is not None and bias.requires_grad
        if q.dtype == torch.bfloat16:
            in_place = (of_bias or q.requires_grad) and HALF.chosen != 'PyTorch'
        else:
            in_place = of_bias
        if in_place:
            return in_place_attention(q, k, v, bias)
    return kernel_attention(q, k, v, bias)


class Attention(nn.Module):
    """Self-attention with a learned bias on queries, values and, but for BEiT, keys.

    A bias on the keys shifts a query's scores by one constant, which softmax ignores: it changes
    nothing but the names of the weights.

    Args:
        embed_dims: Width of the tokens; a multiple of ``num_heads``.
        num_heads: Attention heads.
        grid: Patch grid (h, w) of a relative position table that belongs to this block, or None.
        key_bias: Whether there is one on the keys; all three are ``qkv.bias`` then, in that order.
        dropout: In training, behind the last layer.
    """

    # A class attribute, so that a test or a debugging session can put the plain twin in its place.
    attend = staticmethod(fused_attention)

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        grid: tuple[int, int] | None = None,
        key_bias: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if embed_dims % num_heads:
            raise ValueError(f'embed_dims {embed_dims} is not a multiple of num_heads {num_heads}')
        self.num_heads = num_heads
        self.dropout = dropout
        self.qkv = Linear(embed_dims, 3 * embed_dims, bias=key_bias)
        self.q_bias = None if key_bias else nn.Parameter(torch.zeros(embed_dims))
        self.v_bias = None if key_bias else nn.Parameter(torch.zeros(embed_dims))
        self.proj = Linear(embed_dims, embed_dims)
        self.rel_pos_bias = None if grid is None else RelativePositionBias(grid, num_heads)

    def forward(
        self,
        x: Tensor,
        positions: RelativePositions | None = None,
        shared_bias: Tensor | None = None,
    ) -> Tensor:
        """Mix the tokens.

        Args:
            x: (B, N, C) tokens, [S] first.
            positions: How this block's own table serves the input's patch grid; not looked at
                without a table.
            shared_bias: (heads, N, N) bias from a table that all blocks share, or None.

        Returns:
            (B, N, C).
        """
        batch, length, width = x.shape
        bias = shared_bias if self.rel_pos_bias is None else self.rel_pos_bias(positions)

        qkv = self._project(x).view(batch, length, 3, self.num_heads, width // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)

        x = self.attend(q, k, v, bias)
        x = self.proj(x.transpose(1, 2).reshape(batch, length, width))
        return F.dropout(x, self.dropout) if self.dropout and self.training else x

    def _project(self, x: Tensor) -> Tensor:
        """Queries, keys and values of tokens: (B, N, C) -> (B, N, 3 C)."""
        if self.q_bias is None or self.v_bias is None:
            return self.qkv(x)
        bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        if type(self.qkv) is Linear:
            return linear(x, self.qkv.weight, bias)
        # What stands in its place, such as LoRA's sum, is more than a matrix.
        return self.qkv(x) + bias
