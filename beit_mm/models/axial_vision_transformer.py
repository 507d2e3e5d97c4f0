"""Axial-ViT (ViT, D.6): attention along the rows of patches, then along the columns."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..layers.attention import Attention
from ..layers.block import Block
from ..layers.relative_position import RelativePositions
from ..registry import MODELS
from .sizes import resolve_arch
from .vision_transformer import VisionTransformer


class RowAttention(Attention):
    """Self-attention in which a patch sees those of its row alone."""

    def forward(
        self,
        x: Tensor,
        positions: RelativePositions | None = None,
        shared_bias: Tensor | None = None,
    ) -> Tensor:
        """(B, h w, C) -> (B, h w, C), of the grid (h, w) that ``positions`` tell."""
        grid = _grid_of(positions)
        rows = x.unflatten(1, grid).flatten(0, 1)  # (B h, w, C)
        return super().forward(rows).view(x.shape)


class ColumnAttention(Attention):
    """Self-attention in which a patch sees those of its column alone."""

    def forward(
        self,
        x: Tensor,
        positions: RelativePositions | None = None,
        shared_bias: Tensor | None = None,
    ) -> Tensor:
        """(B, h w, C) -> (B, h w, C), of the grid (h, w) that ``positions`` tell."""
        height, width = _grid_of(positions)
        columns = x.unflatten(1, (height, width)).transpose(1, 2).flatten(0, 1)  # (B w, h, C)
        columns = super().forward(columns).unflatten(0, (-1, width))  # (B, w, h, C)
        return columns.transpose(1, 2).flatten(1, 2)


def _grid_of(positions: RelativePositions | None) -> tuple[int, int]:
    if positions is None:
        raise ValueError('axial attention is for whole grids of patches, and was told of no grid')
    return positions.grid


class RowBlock(Block):
    """A Transformer block, and MLP, with attention along rows."""

    ATTENTION = RowAttention


class ColumnBlock(Block):
    """The same along columns."""

    ATTENTION = ColumnAttention


@MODELS.register_module()
class AxialVisionTransformer(VisionTransformer):
    """Axial-ViT: each block of ViT becomes two, along rows and along columns, with an MLP each.

    A patch sees h + w others by two blocks in place of h w by one; what an extra MLP a block
    costs is more than that saves: at 224 pixels B/16 is 37 GMACs against ViT's 18. There is no
    [S], which lies in no row, so the mean over the patches is read out. Weights are those of this
    class alone; their positions are resampled.

    Args:
        arch: As of :class:`VisionTransformer`, of ViT: 'base', of 12 layers, has 24 blocks here.
            ``out_indices`` and ``frozen_stages`` count those.
        out_type: 'raw' (B, h w, C), 'featmap' (B, C, h, w) or 'avg_featmap' (B, C).
        settings: See :class:`VisionTransformer`.

    Raises:
        ValueError: If ``out_type`` is 'cls_token', or tables of relative positions are asked for.
    """

    BLOCKS = (RowBlock, ColumnBlock)

    def __init__(
        self,
        arch: str | Mapping[str, int] = 'base',
        out_type: str = 'avg_featmap',
        positions: str | None = 'learned',
        **settings: Any,
    ) -> None:
        size = resolve_arch(arch)
        if out_type == 'cls_token':
            raise ValueError("out_type 'cls_token': there is no [S] among rows and columns")
        for name in ('use_rel_pos_bias', 'use_shared_rel_pos_bias'):
            if settings.get(name):
                raise ValueError(f'{name}: its tables are for whole grids, not rows and columns')
        super().__init__(
            dict(size, num_layers=2 * size['num_layers']),
            out_type=out_type,
            positions=positions,
            num_extra_tokens=0,
            **settings,
        )
        # With the weights, whose names are a ViT's: nobody shall take them for one.
        self.register_buffer('axial', torch.tensor(True))

    def _relative_positions(self, grid: tuple[int, int]) -> RelativePositions:
        """The grid, for the blocks."""
        return RelativePositions(grid, self.patch_grid)
