"""Patches shown at regular places, all others hidden: MAE's grid-wise masks (figure 6)."""

import numpy as np

from .blockwise import check_budget


def grid_mask(grid_size: tuple[int, int] = (14, 14), num_masked: int = 147) -> np.ndarray:
    """Show the first of every k x k patches, and hide all others.

    Args:
        grid_size: Height and width of the patch grid.
        num_masked: Patches to hide, for some k: 147 of 14 x 14 is k = 2, three of four.

    Returns:
        (height, width) bool, True where hidden.

    Raises:
        ValueError: If no k hides so many.

    >>> grid_mask((2, 4), 6).astype(int).tolist()
    [[0, 1, 0, 1], [1, 1, 1, 1]]
    """
    check_budget(grid_size, num_masked)
    possible: dict[int, np.ndarray] = {}
    for k in range(1, max(grid_size) + 1):
        mask = np.ones(grid_size, bool)
        mask[::k, ::k] = False
        possible.setdefault(int(mask.sum()), mask)
    if num_masked not in possible:
        raise ValueError(
            f'num_masked is {num_masked}; to show the first of every k x k patches of a grid of '
            f'{grid_size[0]} x {grid_size[1]} hides {", ".join(map(str, sorted(possible)))}'
        )
    return possible[num_masked]
