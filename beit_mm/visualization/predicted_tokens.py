"""What a Transformer says of hidden visual tokens: its first guess, its doubt, its hits."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

AMONG = 5


class Labels(NamedTuple):
    """What rows of filled-in images are called.

    Attributes:
        classes: What is predicted.
        likely, drawn, mean: The rows of the most likely ones, of those drawn at a temperature, and
            of the mean over all.
    """

    classes: str
    likely: str
    drawn: str
    mean: str


TOKENS = Labels(
    'tokens',
    "BEiT's most\nlikely tokens",
    'drawn from BEiT at\ntemperature {:g}',
    "BEiT's mean over\nthe codebook",
)
COLORS = Labels(
    'colors', 'most likely\ncolors', 'colors drawn at\ntemperature {:g}', 'mean over\nthe colors'
)


def fillings(
    logits: Tensor, temperature: float | None = None, seed: int = 0, labels: Labels = TOKENS
) -> dict[str, Tensor]:
    """Ways to fill hidden places by logits over the vocabulary.

    Args:
        logits: (B, h, w, V), or (B, h, w, n, V) of n classes a place.
        temperature: Of tokens that are drawn; None draws none.
        seed: Of the draw.
        labels: What they are called.

    Returns:
        Label -> (B, h, w) or (B, h, w, n) int64 tokens: the most likely, which is temperature 0,
        and those drawn from softmax(logits / temperature); and, last, the probabilities, shaped as
        the logits and float32, of which a painter makes the mean over the codebook.
    """
    logits = logits.float()
    found = {labels.likely: logits.argmax(dim=-1)}
    if temperature is not None:
        shares = (logits / temperature).softmax(dim=-1)
        # On the CPU, whose numbers are the same everywhere.
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.multinomial(shares.flatten(0, -2).cpu(), 1, generator=generator)
        found[labels.drawn.format(temperature)] = drawn.view(logits.shape[:-1]).to(logits.device)
    found[labels.mean] = logits.softmax(dim=-1)
    return found


class Hits(NamedTuple):
    """Of the hidden places of each image.

    Attributes:
        hidden: (B,) int64, how many there are.
        first: (B,) int64, where the most likely token is right.
        among: (B,) int64, where the right one is among the ``AMONG`` most likely.
        counts: (V,) int64, how often each token is the right one at a hidden place.
    """

    hidden: np.ndarray
    first: np.ndarray
    among: np.ndarray
    counts: np.ndarray

    def line(self, labels: Labels = TOKENS) -> str:
        """In words."""
        total = max(1, self.hidden.sum())
        return (
            f'hidden {labels.classes} predicted: {self.first.sum() / total:.1%}, '
            f'{self.among.sum() / total:.1%} among the first {AMONG}; the most common one is '
            f'{self.counts.max() / total:.1%} of the {total}'
        )

    @staticmethod
    def sum_of(parts: 'list[Hits]') -> 'Hits':
        """Those of several batches in one."""
        hidden, first, among = (
            np.concatenate([part[index] for part in parts]) for index in range(3)
        )
        return Hits(hidden, first, among, np.sum([part.counts for part in parts], axis=0))


def count_hits(logits: Tensor, targets: Tensor, mask: Tensor) -> Hits:
    """Hold predictions against the visual tokens.

    Args:
        logits: (B, h, w, V), or (B, h, w, n, V) of n classes a place, which all count.
        targets: (B, h, w) int64, or (B, h, w, n).
        mask: (B, h, w) bool, True where hidden.
    """
    if targets.ndim > mask.ndim:
        mask = mask[..., None].expand_as(targets)
    best = logits.topk(min(AMONG, logits.shape[-1]), dim=-1).indices
    right = (best == targets[..., None]) & mask[..., None]
    counts = torch.bincount(targets[mask], minlength=logits.shape[-1])
    hidden, first, among = (
        each.flatten(1).sum(dim=1).cpu().numpy()
        for each in (mask, right[..., 0], right.any(dim=-1))
    )
    return Hits(hidden, first, among, counts.cpu().numpy())
