"""Which patches are corrupted, and by what: ViT's masked patch prediction (2010.11929, B.1.2)."""

import math
from typing import NamedTuple

import numpy as np

from .blockwise import Source
from .random_patches import random_mask

# In place of the number of a patch: the mask token stands there.
MASK_TOKEN = -1


class Corruption(NamedTuple):
    """What becomes of the patches of an image.

    Attributes:
        mask: (h, w) bool, True where corrupted, those that are kept as they are among them.
        sources: (h, w) int64, of which patch the embedding stands at each place, counted row by
            row: its own where none is put in its place; ``MASK_TOKEN`` for the mask token.
    """

    mask: np.ndarray
    sources: np.ndarray


def check_shares(
    grid_size: tuple[int, int], share: float, mask_share: float, other_share: float
) -> int:
    """How many patches are corrupted.

    Raises:
        ValueError: With the name of the argument that cannot be.
    """
    if not 0 < share < 1:
        raise ValueError(f'share is {share}; it must be between 0 and 1')
    if not (mask_share >= 0 and other_share >= 0 and mask_share + other_share <= 1 + 1e-9):
        raise ValueError(
            f'mask_share is {mask_share} and other_share {other_share}; both must be at least 0 '
            'and their sum at most 1: the rest is kept'
        )
    patches = math.prod(grid_size)
    corrupted = round(share * patches)
    if not 0 < corrupted < patches:
        raise ValueError(
            f'share {share} of {grid_size[0]} x {grid_size[1]} patches is {corrupted}; some must '
            'be corrupted and some not'
        )
    return corrupted


def corrupt_patches(
    grid_size: tuple[int, int] = (14, 14),
    share: float = 0.5,
    *,
    mask_share: float = 0.8,
    other_share: float = 0.1,
    rng: Source | None = None,
) -> Corruption:
    """Choose patches at random, and for each by itself what becomes of it.

    The number of the chosen ones is the same in every image; of them those with the mask token
    follow the binomial law of ``mask_share``, and so on. The other patch is any of the same image
    but the one it replaces, corrupted or not; its own embedding is taken.

    Args:
        grid_size: Height and width of the patch grid.
        share: Of the patches, corrupted; rounded to a number of patches.
        mask_share: Probability that a corrupted patch is replaced by the mask token.
        other_share: Probability that it is replaced by another patch. The rest is kept.
        rng: Source of randomness; None for a fresh one.

    Raises:
        ValueError: If the shares cannot be.
    """
    corrupted = check_shares(grid_size, share, mask_share, other_share)
    rng = np.random.default_rng() if rng is None else rng
    mask = random_mask(grid_size, corrupted, rng=rng)
    patches, chosen = mask.size, np.flatnonzero(mask)
    fates, shifts = rng.random(2 * corrupted).reshape(2, -1)
    # One to patches - 1 further on, and round to the first from the last.
    others = (chosen + 1 + (shifts * (patches - 1)).astype(np.int64)) % patches
    kept = fates >= mask_share + other_share
    sources = np.arange(patches)
    sources[chosen] = np.where(fates < mask_share, MASK_TOKEN, np.where(kept, chosen, others))
    return Corruption(mask, sources.reshape(grid_size))
