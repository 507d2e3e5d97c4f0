"""One layer of a Transformer."""

import math

import torch
from torch import Tensor, nn

from .attention import Attention
from .compiling import in_its_fast_form
from .drop_path import DropPath, Survivors, add_branch
from .mlp import Mlp
from .positions import Positions
from .relative_position import RelativePositions

NORM_EPS = 1e-6


class Block(nn.Module):
    """Pre-norm Transformer block with LayerScale and stochastic depth on both branches.

    Args:
        embed_dims: Width of the tokens.
        num_heads: Attention heads.
        feedforward_channels: Width inside the feed-forward half.
        drop_path: Probability of leaving a branch out, an image at a time, in training.
        layer_scale_init_value: Initial LayerScale; 0 leaves LayerScale out.
        grid: Patch grid of this block's own relative position table, or None for no table.
        skip_dropped: Whether to leave out the work for dropped images, see :class:`DropPath`.
        compile: Whether to compile the block; None leaves it to the machine.
        key_bias: See :class:`Attention`.
        dropout: See :class:`Attention` and :class:`Mlp`.
        pos_embed: Positions that this block's input has added to it, by whoever calls it.
    """

    ATTENTION = Attention

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        feedforward_channels: int,
        drop_path: float,
        layer_scale_init_value: float,
        grid: tuple[int, int] | None,
        skip_dropped: bool = False,
        compile: bool | None = None,
        key_bias: bool = False,
        dropout: float = 0.0,
        pos_embed: Positions = None,
    ) -> None:
        super().__init__()
        self.compile_branches = compile
        self.pos_embed = pos_embed
        self.norm1 = nn.LayerNorm(embed_dims, eps=NORM_EPS)
        self.attn = self.ATTENTION(embed_dims, num_heads, grid, key_bias, dropout)
        self.norm2 = nn.LayerNorm(embed_dims, eps=NORM_EPS)
        self.mlp = Mlp(embed_dims, feedforward_channels, dropout)
        self.drop_path = DropPath(drop_path, skip_dropped)
        self.gamma_1: nn.Parameter | float = 1.0
        self.gamma_2: nn.Parameter | float = 1.0
        if layer_scale_init_value > 0:
            scale = torch.full((embed_dims,), float(layer_scale_init_value))
            self.gamma_1, self.gamma_2 = nn.Parameter(scale), nn.Parameter(scale.clone())

    @torch.no_grad()
    def rescale_(self, depth: int) -> None:
        """Divide the last matrix of both branches by sqrt(2 depth), with the first block at 1.

        It keeps the residual stream's variance in check as depth grows (BEiT 2.5).
        """
        self.attn.proj.weight.div_(math.sqrt(2 * depth))
        self.mlp.fc2.weight.div_(math.sqrt(2 * depth))

    def forward(
        self, x: Tensor, positions: RelativePositions | None, shared_bias: Tensor | None
    ) -> Tensor:
        """(B, N, C) -> (B, N, C); for the other arguments see :class:`Attention`."""
        # Drawn outside of what is compiled, which is then the same for every block.
        survivors = self.drop_path(x), self.drop_path(x)
        branches = in_its_fast_form(Block.add_branches, self.compile_branches, x.device, self)
        return branches(self, x, positions, shared_bias, *survivors)

    def add_branches(
        self,
        x: Tensor,
        positions: RelativePositions | None,
        shared_bias: Tensor | None,
        attn_survivors: Survivors | None,
        mlp_survivors: Survivors | None,
    ) -> Tensor:
        """:meth:`forward` for images that stochastic depth has chosen."""

        def attend(x: Tensor) -> Tensor:
            return self.attn(self.norm1(x), positions, shared_bias)

        def feed_forward(x: Tensor) -> Tensor:
            return self.mlp(self.norm2(x))

        x = add_branch(x, attend, self.gamma_1, attn_survivors)
        return add_branch(x, feed_forward, self.gamma_2, mlp_survivors)
