"""Fixed absolute positions: sines and cosines of both axes."""

import torch
from torch import Tensor

# The longest wave, in patches over 2 pi (arXiv 1706.03762, 3.5).
BASE = 10_000


def sine_cosine(grid: tuple[int, int], embed_dims: int) -> Tensor:
    """Positions of [S] and a grid of patches (arXiv 2111.06377, appendix A.1).

    Half of the channels tell the column and half the row, each in sines, then in cosines, of waves
    from 1 to ``BASE``; [S] has zeros.

    Args:
        grid: Height and width in patches.
        embed_dims: Width of a token.

    Returns:
        (1, 1 + h w, embed_dims) float32.

    Raises:
        ValueError: If the width is no multiple of four.
    """
    if embed_dims % 4:
        raise ValueError(
            f'embed_dims is {embed_dims}; with sine-cosine positions it must be a multiple of 4: a '
            'sine and a cosine of each axis'
        )
    quarter = embed_dims // 4
    waves = BASE ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    rows, columns = (torch.arange(size, dtype=torch.float64) for size in grid)
    by_row, by_column = (
        torch.cat([angles.sin(), angles.cos()], dim=1)
        for angles in (rows[:, None] * waves, columns[:, None] * waves)
    )
    patches = torch.cat(
        [
            by_column[None].expand(grid[0], -1, -1),
            by_row[:, None].expand(-1, grid[1], -1),
        ],
        dim=2,
    )
    positions = torch.cat([patches.new_zeros(1, embed_dims), patches.flatten(0, 1)])
    return positions.float()[None]
