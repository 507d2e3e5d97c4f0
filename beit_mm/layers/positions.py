"""Absolute positions: which there are, and how those made for one patch grid serve another.

The ViT paper compares them in appendix D.4 (table 8); 'learned' is its own choice, there "1-D".
"""

from collections.abc import Hashable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .kept_in_eval import KeptInEval
from .resize_positions import resize_absolute_positions, same_grid
from .sine_cosine import sine_cosine

POSITIONS = ('sine-cosine', 'learned', 'learned-2d', None)
PLACES = ('input', 'every_block', 'every_block_shared')


class AxisPositions(nn.Module):
    """A learned table of half the width for each axis (ViT, appendix D.4, "2-D").

    A patch has the entry of its row beside that of its column; [S] has a position of its own.

    Args:
        grid: Height and width in patches.
        embed_dims: Width of a token.
        num_extra_tokens: Tokens before those of the patches.

    Raises:
        ValueError: If the width is odd.
    """

    def __init__(self, grid: tuple[int, int], embed_dims: int, num_extra_tokens: int = 1) -> None:
        super().__init__()
        if embed_dims % 2:
            raise ValueError(
                f"embed_dims is {embed_dims}; with positions='learned-2d' it must be even: half of "
                'it is for the row and half for the column'
            )
        self.cls = nn.Parameter(torch.zeros(1, num_extra_tokens, embed_dims))
        self.rows = nn.Parameter(torch.zeros(1, grid[0], embed_dims // 2))
        self.columns = nn.Parameter(torch.zeros(1, grid[1], embed_dims // 2))

    def forward(self) -> Tensor:
        """(1, 1 + h w, embed_dims), [S] first."""
        height, width = self.rows.shape[1], self.columns.shape[1]
        rows = self.rows[:, :, None].expand(-1, -1, width, -1)
        columns = self.columns[:, None].expand(-1, height, -1, -1)
        return torch.cat([self.cls, torch.cat([rows, columns], dim=3).flatten(1, 2)], dim=1)


def resize_axis(table: Tensor, target: int) -> Tensor:
    """Resample one of :class:`AxisPositions`' tables, cubic: (1, n, C) -> (1, target, C)."""
    if table.shape[1] == target:
        return table
    image = table.transpose(1, 2)[..., None].float()  # (1, C, n, 1)
    image = F.interpolate(image, size=(target, 1), mode='bicubic', align_corners=False)
    return image[..., 0].transpose(1, 2).to(table.dtype)


Positions = nn.Parameter | AxisPositions | None


def make_positions(
    kind: str | None, grid: tuple[int, int], embed_dims: int, num_extra_tokens: int = 1
) -> Positions:
    """Positions of [S] and a grid of patches, as yet zero where they are learned.

    Args:
        kind: One of ``POSITIONS``.
        grid: Height and width in patches.
        embed_dims: Width of a token.
        num_extra_tokens: Tokens before those of the patches.

    Returns:
        A parameter (1, num_extra_tokens + h w, embed_dims), a module with three, or None for none.
    """
    if kind is None:
        return None
    if kind == 'learned-2d':
        return AxisPositions(grid, embed_dims, num_extra_tokens)
    if kind == 'sine-cosine':
        fixed = sine_cosine(grid, embed_dims)
        fixed = torch.cat([fixed[:, :1].expand(-1, num_extra_tokens, -1), fixed[:, 1:]], dim=1)
        return nn.Parameter(fixed, requires_grad=False)
    return nn.Parameter(torch.zeros(1, num_extra_tokens + grid[0] * grid[1], embed_dims))


def check_positions(
    kind: str | None, place: str, tables: tuple[bool, bool], num_extra_tokens: int
) -> None:
    """Refuse settings that mean nothing.

    Args:
        kind: Of absolute positions.
        place: Where they are added.
        tables: Whether each block has its own table of relative positions; whether all share one.
        num_extra_tokens: Tokens before those of the patches.

    Raises:
        ValueError: If one is unknown, or they exclude each other.
    """
    if num_extra_tokens not in (0, 1, 2):
        raise ValueError(f'num_extra_tokens is {num_extra_tokens}; it must be 0, 1 or 2')
    if all(tables):
        raise ValueError(
            'use_rel_pos_bias and use_shared_rel_pos_bias are both True; a table a block and '
            'one shared table exclude each other'
        )
    if any(tables) and num_extra_tokens != 1:
        raise ValueError(
            f'num_extra_tokens is {num_extra_tokens}; tables of relative positions are for one, [S]'
        )
    if kind not in POSITIONS:
        raise ValueError(f'positions {kind!r} is none of {", ".join(map(str, POSITIONS))}')
    if place not in PLACES:
        raise ValueError(f'positions_at {place!r} is none of {", ".join(PLACES)}')
    if place != 'input' and kind is None:
        raise ValueError(f'positions_at is {place!r}, and positions is None: there are none to add')
    if place == 'every_block' and kind == 'sine-cosine':
        raise ValueError(
            "positions_at='every_block' learns positions for each block, and 'sine-cosine' ones "
            "are fixed: take 'every_block_shared'"
        )


def whole_table(stored: nn.Parameter | AxisPositions) -> Tensor:
    """Positions (1, 1 + h w, C) for their own grid."""
    return stored() if isinstance(stored, AxisPositions) else stored


def is_position(name: str) -> bool:
    """Whether a parameter of this name belongs to absolute positions."""
    return any(part.startswith('pos_embed') for part in name.split('.'))


class PositionsOnGrids:
    """Positions made for one patch grid, as others need them; in evaluation resampled once.

    Args:
        grid: What they are made for.
    """

    def __init__(self, grid: tuple[int, int]) -> None:
        self.grid = grid
        self._kept: dict[Hashable, KeptInEval] = {}

    def clear(self) -> None:
        """Forget what was resampled: the weights may be others now."""
        self._kept.clear()

    def get(self, stored: Positions, grid: tuple[int, int], place: Hashable = None) -> Tensor:
        """Positions (1, 1 + h w, C) for a grid.

        Args:
            stored: What :func:`make_positions` gave, not None.
            grid: Of the images.
            place: Tells several positions of a network apart.
        """
        if isinstance(stored, AxisPositions):
            return resize_absolute_positions(whole_table(stored), self.grid, grid)
        assert stored is not None
        if same_grid(self.grid, grid):
            return stored
        kept = self._kept.setdefault(place, KeptInEval())
        return kept.get(stored, grid, lambda: resize_absolute_positions(stored, self.grid, grid))
