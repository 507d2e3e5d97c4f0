"""Stochastic depth: in training, branches of a network left out for some images of a batch."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Survivors(NamedTuple):
    """The images of a batch whose branch is kept.

    Attributes:
        scale: (B, 1, 1) weight of each image's branch, 0 or 1 / survival rate; or (1, 1, 1).
        indices: (kept,) int64 images that the branch is computed for; None computes it for all.
    """

    scale: Tensor
    indices: Tensor | None = None


def add_branch(
    x: Tensor, branch: Callable, gamma: Tensor | float, survivors: Survivors | None
) -> Tensor:
    """x + scale * gamma * branch(x).

    Args:
        x: (B, N, C).
        branch: Callable (b, N, C) -> (b, N, C).
        gamma: (C,) LayerScale, or 1.0 for none.
        survivors: None keeps every image.

    Returns:
        (B, N, C), of the dtype of x, or the widest where x is narrower than gamma.
    """
    if survivors is None:
        return x + gamma * branch(x)
    scale, indices = survivors
    if indices is None:
        return x + scale * gamma * branch(x)
    change = scale * gamma * branch(x.index_select(0, indices))
    return x.index_add(0, indices, change.to(x.dtype))


class DropPath(nn.Module):
    """Which images of a batch lose a branch.

    Args:
        drop_prob: Probability of losing it.
        skip: False decides for each image by itself and computes the branch for all of them. True
            draws a fixed number of survivors, the nearest to (1 - drop_prob) B but at least one,
            and leaves the others' work out. In a batch so small that this number is B none is
            dropped.

    Raises:
        ValueError: If ``drop_prob`` is not in [0, 1).
    """

    def __init__(self, drop_prob: float, skip: bool = False) -> None:
        super().__init__()
        if not 0 <= drop_prob < 1:
            raise ValueError(f'drop_prob is {drop_prob}; it must be in [0, 1)')
        self.drop_prob = drop_prob
        self.skip = skip

    def forward(self, x: Tensor) -> Survivors | None:
        """The survivors among the images x (B, ...), or None if all are; all are in evaluation."""
        if not self.training or self.drop_prob == 0:
            return None
        batch = x.shape[0]
        chance = torch.rand(batch, device=x.device)
        if not self.skip:
            keep = 1 - self.drop_prob
            return Survivors((chance < keep).to(x.dtype)[:, None, None] / keep)
        kept = max(1, round(batch * (1 - self.drop_prob)))
        if kept == batch:
            return None
        # Sorted by chance: a number of survivors that the host knows without asking the device.
        # A tensor, as the compiler of PyTorch 2.5 makes code for each number; filled on the device.
        dtype = torch.promote_types(x.dtype, torch.float32)
        scale = x.new_full((1, 1, 1), batch / kept, dtype=dtype)
        return Survivors(scale, chance.argsort()[:kept])
