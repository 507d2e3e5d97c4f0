"""Patches hidden one by one, as in MAE and as an ablation of BEiT."""

import numpy as np

from .blockwise import Source, check_budget


def random_mask(
    grid_size: tuple[int, int] = (14, 14),
    num_masked: int = 75,
    *,
    rng: Source | None = None,
) -> np.ndarray:
    """Hide patches one by one, each set of ``num_masked`` equally likely.

    Args:
        grid_size: Height and width of the patch grid.
        num_masked: Patches to hide, 0 to height * width.
        rng: Source of randomness; None for a fresh one.

    Returns:
        (height, width) bool, True where hidden.

    Raises:
        ValueError: If there are fewer patches than ``num_masked``.
    """
    check_budget(grid_size, num_masked)
    rng = np.random.default_rng() if rng is None else rng
    mask = np.zeros(grid_size[0] * grid_size[1], dtype=bool)
    mask[rng.random(mask.size).argsort()[:num_masked]] = True
    return mask.reshape(grid_size)
