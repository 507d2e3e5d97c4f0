"""Visual tokens drawn from what an encoder takes for likely, at a temperature."""

import torch
from torch import Tensor

from .discrete_vae import DiscreteVAE, map_pixels


@torch.no_grad()
def token_logits(tokenizer: DiscreteVAE, images: Tensor) -> Tensor:
    """Logits of the distribution over tokens at each place.

    Of ``quantizer='gumbel'`` they are the encoder's. Of 'vector' there are squared distances
    alone, which have no scale of their own: they are taken for those of a mixture of Gaussians
    around the codes, of one variance, the mean of these images by which they miss their codes.

    Args:
        tokenizer: In eval mode.
        images: (B, C, H, W) in [0, 1].

    Returns:
        (B, V, h, w) float32, up to a constant of the place.
    """
    if tokenizer.quantizer == 'gumbel':
        return tokenizer.encode(images).float()
    vectors = tokenizer.encoder.output[:-1](tokenizer.encoder[:-1](map_pixels(images))).float()
    logits = tokenizer.encoder.output.codebook(vectors)
    missed = (vectors.square().sum(dim=1) - logits.amax(dim=1)).clamp(min=0)
    variance = missed.mean() / vectors.shape[1]
    return logits / (2 * variance).clamp(min=1e-12)


def sample_tokens(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Draw a token for each place, of probabilities softmax(logits / temperature).

    By Gumbel's trick: the largest of the logits with noise.

    Args:
        logits: (B, V, h, w).
        temperature: 0 takes the most likely.
        generator: Of the CPU, so that the draw is the same on every device.

    Returns:
        (B, h, w) int64.
    """
    if temperature == 0:
        return logits.argmax(dim=1)
    uniform = torch.rand(logits.shape, generator=generator, dtype=torch.float64)
    noise = -torch.log(-torch.log(uniform.clamp(min=1e-300)))
    return (logits / temperature + noise.to(logits)).argmax(dim=1)
