"""What a tokenizer's error means: beside the mean patch, and k-means with as many codes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ...models.discrete_vae import codebook_perplexity

KMEANS_STEPS = 25
# Patches looked at together.
AT_ONCE = 8192


def patches_of(images: Tensor, stride: int) -> Tensor:
    """(B, C, h * stride, w * stride) -> (B * h * w, C * stride * stride)."""
    return F.unfold(images, stride, stride=stride).transpose(1, 2).flatten(0, 1)


def nearest(patches: Tensor, codes: Tensor) -> Tensor:
    """Which code is nearest to each patch: (N, D), (V, D) -> (N,) int64."""
    lengths = codes.square().sum(dim=1)
    ids = [(2 * part @ codes.T - lengths).argmax(dim=1) for part in patches.split(AT_ONCE)]
    return torch.cat(ids)


def kmeans(patches: Tensor, num_codes: int, seed: int = 0) -> Tensor:
    """Lloyd's algorithm from k-means++; a code without patches goes to a badly served one.

    Args:
        patches: (N, D), at least ``num_codes``.
        num_codes: V.
        seed: Of the random choices.

    Returns:
        (V, D).
    """
    generator = torch.Generator().manual_seed(seed)
    codes = _spread_out(patches, num_codes, generator)
    for _ in range(KMEANS_STEPS):
        ids = nearest(patches, codes)
        counts = torch.bincount(ids, minlength=num_codes)
        sums = torch.zeros_like(codes).index_add_(0, ids, patches)
        errors = (patches - codes[ids]).square().sum(dim=1)
        codes = sums / counts[:, None].clamp(min=1)
        empty = (counts == 0).nonzero()[:, 0]
        if len(empty):
            # As many as there are patches at all, if these are fewer than the empty codes.
            chosen = torch.multinomial(
                errors + 1e-12, min(len(empty), len(errors)), generator=generator
            )
            codes[empty[: len(chosen)]] = patches[chosen]
    return codes


def _spread_out(patches: Tensor, num_codes: int, generator: torch.Generator) -> Tensor:
    """k-means++: patches chosen one by one, by their squared distance from those chosen before."""
    errors = torch.ones(len(patches))
    codes = torch.empty(num_codes, patches.shape[1])
    for number in range(num_codes):
        chosen = torch.multinomial(errors + 1e-12, 1, generator=generator)
        codes[number] = patches[chosen[0]]
        distances = (patches - codes[number]).square().sum(dim=1)
        errors = torch.minimum(errors, distances) if number else distances
    return codes


def yardsticks(fitted: Tensor, held_out: Tensor, num_codes: int) -> dict[str, float]:
    """Errors of two ways to know nothing of neighbours, on patches that they have not seen.

    Args:
        fitted, held_out: (N, D) and (M, D) patches in [0, 1].
        num_codes: The tokenizer's vocabulary.

    Returns:
        ``mean_mse``, of the mean patch; and, where there are four patches a code to fit them to,
        ``kmeans_mse`` and ``kmeans_perplexity``.
    """
    found = dict(mean_mse=float((held_out - fitted.mean(dim=0)).square().mean()))
    if len(fitted) >= 4 * num_codes:
        codes = kmeans(fitted, num_codes)
        ids = nearest(held_out, codes)
        found['kmeans_mse'] = float((held_out - codes[ids]).square().mean())
        found['kmeans_perplexity'] = float(codebook_perplexity(torch.bincount(ids)))
    return found
