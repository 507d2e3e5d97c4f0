"""Tokens at a temperature."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from beit_mm.models import DiscreteVAE
from beit_mm.models.discrete_vae import map_pixels
from beit_mm.models.sampled_tokens import sample_tokens, token_logits


def generator():
    return torch.Generator().manual_seed(0)


def small(quantizer):
    torch.manual_seed(0)
    settings = dict(vocab_size=12, hidden=8, num_groups=2, blocks_per_group=1, decoder_input=8)
    return DiscreteVAE(**settings, quantizer=quantizer, code_dims=4).eval()


@pytest.mark.parametrize('quantizer', ['gumbel', 'vector'])
def test_near_zero_the_most_likely_tokens_are_drawn(quantizer):
    tokenizer, images = small(quantizer), torch.rand(3, 3, 8, 8)
    logits = token_logits(tokenizer, images)
    for temperature in (0.0, 1e-7):
        drawn = sample_tokens(logits, temperature, generator())
        assert drawn.equal(tokenizer.tokenize(images))


@pytest.mark.parametrize('temperature', [0.5, 2.0])
def test_tokens_are_as_frequent_as_softmax_says(temperature):
    logits = torch.tensor([2.0, 0.0, 1.0, -3.0])
    many = 40_000
    ids = sample_tokens(logits.view(1, 4, 1, 1).expand(1, 4, 200, 200), temperature, generator())
    shares = torch.bincount(ids.flatten(), minlength=4) / many
    expected = (logits / temperature).softmax(dim=0)
    deviation = (expected * (1 - expected) / many).sqrt()
    assert ((shares - expected).abs() < 4 * deviation).all()


def test_distances_become_the_log_odds_of_a_mixture_of_gaussians():
    tokenizer, images = small('vector'), torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        vectors = tokenizer.encoder.output[:-1](tokenizer.encoder[:-1](map_pixels(images)))
    rows = vectors.permute(0, 2, 3, 1).flatten(0, 2).double().numpy()
    codes = tokenizer.encoder.output.codebook.codes.double().numpy()
    missed = np.square(rows[:, None] - codes).sum(axis=2).min(axis=1)
    variance = missed.mean() / codes.shape[1]
    expected = np.stack([multivariate_normal(c, variance).logpdf(rows) for c in codes], axis=1)
    logits = token_logits(tokenizer, images).permute(0, 2, 3, 1).flatten(0, 2).double().numpy()
    differences = logits - expected
    np.testing.assert_allclose(differences, differences[:, :1].repeat(12, axis=1), atol=1e-3)
    assert math.isfinite(float(np.abs(differences).max()))
