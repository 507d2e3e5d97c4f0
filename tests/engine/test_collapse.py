"""When a codebook is said to have collapsed."""

import numpy as np
import pytest

from beit_mm.engine.measuring.collapse import could_be_used, evidence_of_collapse, what_to_try


@pytest.mark.parametrize(('codes', 'places'), [(50, 20), (50, 200), (1000, 900)])
def test_codes_that_could_be_used_are_those_of_an_even_draw(codes, places):
    rng = np.random.default_rng(0)
    drawn = [len(np.unique(rng.integers(0, codes, places))) for _ in range(400)]
    assert could_be_used(codes, places) == pytest.approx(np.mean(drawn), abs=0.5)


@pytest.mark.parametrize(
    ('codes', 'places', 'used', 'perplexity', 'kmeans'),
    [
        # MNIST by the relaxation in a short run: 28 codes, and k-means has three times as many.
        (128, 16_000, 28, 12, 35),
        (128, 16_000, 39, 12, None),
        (8192, 200_000, 300, 90, None),
        (1024, 50_000, 1, 1, None),
        (64, 20_000, 20, 15, None),
        # Of a log that tells the codes in use alone.
        (1024, 50_000, 102, None, None),
        (512, 1600, 48, None, None),
    ],
)
def test_a_collapse_is_told(codes, places, used, perplexity, kmeans):
    said = evidence_of_collapse(codes, places, used, perplexity, kmeans)
    few = perplexity is None or codes == 64
    assert said.startswith(
        f'{used} codes are in use' if few else f'codes are used as if there were {perplexity}'
    )
    assert ('k-means' in said) == (kmeans is not None)


@pytest.mark.parametrize(
    ('codes', 'places', 'used', 'perplexity', 'kmeans'),
    [
        # Of docs/tokenizer.md: digits, MNIST, photos, street scenes.
        (128, 16_000, 128, 113, 76),
        (1024, 16_000, 997, 751, 45),
        (1024, 960, 538, 464, 291),
        (1024, 1616, 279, 175, 65),
        (128, 1616, 96, 59, 23),
        # One photo cannot show them all; of 16 places nothing can be told.
        (8192, 196, 120, 100, None),
        (1024, 16, 1, 1, None),
        (1024, 127, 1, 1, None),
        # A little less than k-means is no collapse.
        (128, 16_000, 60, 30, 40),
        # A small vocabulary, all of it in use.
        (16, 5_000, 16, 14, 15),
        (1024, 50_000, 103, None, None),
    ],
)
def test_nothing_is_said_of_healthy_ones_and_of_too_few_places(
    codes, places, used, perplexity, kmeans
):
    assert evidence_of_collapse(codes, places, used, perplexity, kmeans) == ''


def test_what_to_try_depends_on_how_codes_are_made():
    assert "quantizer='vector'" in what_to_try('gumbel')
    assert '--minutes' in what_to_try('vector')
