"""Metrics against numbers worked out by hand, through mmengine's Evaluator."""

import math

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement

from beit_mm.models import DiscreteVAE


def evaluate(metric, batches, size=None):
    """What the Evaluator reports for batches of samples, as in a validation loop."""
    evaluator = Evaluator(dict(type=f'beit_mm.{metric}'))
    for batch in batches:
        evaluator.process([BaseDataElement(**sample) for sample in batch], data_batch=dict())
    return evaluator.evaluate(sum(map(len, batches)) if size is None else size)


def split(samples, *sizes):
    """Samples in batches of the given sizes."""
    samples = iter(samples)
    return [[next(samples) for _ in range(size)] for size in sizes]


# ----------------------------------------------------------------------------------------------
# The tokenizer's
# ----------------------------------------------------------------------------------------------


def tokenized(tokens, recon_mse, vocab_size=6):
    return dict(
        tokens=torch.tensor(tokens), recon_mse=torch.tensor(recon_mse), vocab_size=vocab_size
    )


# Together: code 0 eight times, code 2 four times, codes 3 and 5 twice, codes 1 and 4 never.
TOKENIZED = [
    tokenized([[0, 0], [0, 2]], 0.5),
    tokenized([[0, 3], [5, 2]], 0.25),
    tokenized([[0, 0], [2, 5]], 0.125),
    tokenized([[0, 0], [2, 3]], 0.625),
]
TOKENIZED_REPORT = {
    'tokenizer/recon_mse': 0.375,
    'tokenizer/codes_used': 4,
    # 1/2, 1/4, 1/8, 1/8: an entropy of 1/2 + 1/2 + 3/8 + 3/8 bits.
    'tokenizer/perplexity': 2**1.75,
    'tokenizer/places': 16,
}


@pytest.mark.parametrize('sizes', [(4,), (1, 1, 1, 1), (3, 1), (1, 3)], ids=str)
def test_tokenizer_metric_is_of_the_whole_set_however_it_is_batched(sizes):
    """Perplexities of batches differ from each other; no mean of them is the set's."""
    report = evaluate('TokenizerMetric', split(TOKENIZED, *sizes))
    assert report == pytest.approx(TOKENIZED_REPORT, rel=1e-6)


def test_tokenizer_metric_leaves_out_what_the_sampler_padded():
    # Ranks get equal shares: the last samples may be there twice.
    padded = [*TOKENIZED, tokenized([[1, 1], [1, 1]], 9.0)]
    report = evaluate('TokenizerMetric', split(padded, 3, 2), size=4)
    assert report == pytest.approx(TOKENIZED_REPORT, rel=1e-6)


@pytest.mark.parametrize(
    ('tokens', 'codes_used', 'perplexity'),
    [
        ([[5, 5, 5]], 1, 1),
        ([[0, 1, 2], [3, 4, 5]], 6, 6),
        # The last code is one of the vocabulary too, and so is an odd number of uses.
        ([[4, 5, 5]], 2, 3 / 2 ** (2 / 3)),
    ],
)
def test_perplexity_runs_from_one_code_to_all(tokens, codes_used, perplexity):
    report = evaluate('TokenizerMetric', [[tokenized(tokens, 0.0)]])
    assert report['tokenizer/codes_used'] == codes_used
    assert report['tokenizer/perplexity'] == pytest.approx(perplexity, rel=1e-6)


def test_images_of_different_sizes_count_by_image_and_by_token():
    samples = [tokenized([[0]], 0.1), tokenized([[1, 1, 1], [1, 0, 0], [2, 2, 2]], 0.3)]
    report = evaluate('TokenizerMetric', [samples])
    # Code 0 three times, code 1 four times, code 2 three times.
    entropy = -2 * 0.3 * math.log(0.3) - 0.4 * math.log(0.4)
    assert report['tokenizer/recon_mse'] == pytest.approx(0.2, rel=1e-6)
    assert report['tokenizer/codes_used'] == 3
    assert report['tokenizer/perplexity'] == pytest.approx(math.exp(entropy), rel=1e-6)


def test_second_evaluation_starts_anew():
    evaluator = Evaluator(dict(type='beit_mm.TokenizerMetric'))
    evaluator.process([BaseDataElement(**tokenized([[1, 1], [4, 4]], 7.0))])
    evaluator.evaluate(1)
    evaluator.process([BaseDataElement(**sample) for sample in TOKENIZED])
    assert evaluator.evaluate(4) == pytest.approx(TOKENIZED_REPORT, rel=1e-6)


def test_tokenizers_own_validation_step_feeds_the_metric():
    torch.manual_seed(0)
    tokenizer = DiscreteVAE(
        vocab_size=5, hidden=4, num_groups=2, blocks_per_group=1, decoder_input=4
    ).eval()
    images = torch.rand(5, 3, 8, 12)
    evaluator = Evaluator(dict(type='beit_mm.TokenizerMetric'))
    for batch in images.split([3, 2]):
        evaluator.process(tokenizer.val_step(dict(inputs=batch)))
    report = evaluator.evaluate(5)

    ids = tokenizer.tokenize(images)
    used, counts = ids.unique(return_counts=True)
    share = counts.double() / ids.numel()
    # Equal shares of a vocabulary would hide which tokens were counted.
    assert len(used) > 1
    assert share.max() > share.min()
    assert report['tokenizer/codes_used'] == len(used)
    assert report['tokenizer/perplexity'] == pytest.approx(
        ((1 / share) ** share).prod().item(), rel=1e-5
    )
    error = (tokenizer.decode(ids) - images).square().mean().item()
    assert report['tokenizer/recon_mse'] == pytest.approx(error, rel=1e-5)


# ----------------------------------------------------------------------------------------------
# Masked image modeling's
# ----------------------------------------------------------------------------------------------


def guessed(predicted, tokens, mask):
    return dict(
        predicted=torch.tensor(predicted),
        targets=torch.tensor(tokens),
        places=torch.tensor(mask, dtype=torch.bool),
    )


GUESSED = [
    # Both masked places right; of the others, which do not count, one wrong.
    guessed([[1, 2], [3, 4]], [[1, 2], [3, 9]], [[1, 1], [0, 0]]),
    # The one masked place wrong, the others right.
    guessed([[1, 2], [3, 4]], [[7, 2], [3, 4]], [[1, 0], [0, 0]]),
    # One of four.
    guessed([[5, 5], [5, 5]], [[5, 6], [7, 8]], [[1, 1], [1, 1]]),
    # Nothing masked.
    guessed([[1, 1], [1, 1]], [[1, 1], [1, 1]], [[0, 0], [0, 0]]),
]


@pytest.mark.parametrize('sizes', [(4,), (1, 1, 1, 1), (3, 1), (1, 3)], ids=str)
def test_mim_accuracy_is_hits_over_masked_places_of_the_whole_set(sizes):
    """3 of 7; the mean over images, 100, 0 and 25 per cent, would be 42 as well as 31."""
    report = evaluate('MIMAccuracy', split(GUESSED, *sizes))
    # Of 1, 2, 7, 5, 6, 7, 8 the commonest is 7, twice; one of them is twice there.
    assert report == {
        'mim/acc': pytest.approx(100 * 3 / 7, rel=1e-12),
        'mim/commonest': pytest.approx(100 * 2 / 7, rel=1e-12),
        'mim/codes_used': 6,
        'mim/perplexity': pytest.approx(7 / 2 ** (2 / 7), rel=1e-6),
        'mim/places': 7,
    }


def test_mim_accuracy_leaves_out_what_the_sampler_padded():
    padded = [*GUESSED, GUESSED[0]]
    report = evaluate('MIMAccuracy', split(padded, 2, 3), size=4)
    assert report['mim/acc'] == pytest.approx(100 * 3 / 7, rel=1e-12)
    assert report['mim/commonest'] == pytest.approx(100 * 2 / 7, rel=1e-12)


@pytest.mark.parametrize(('right', 'expected'), [(True, 100), (False, 0)])
def test_mim_accuracy_is_in_per_cent(right, expected):
    tokens = [[1, 2, 3]]
    predicted = tokens if right else [[2, 3, 1]]
    report = evaluate('MIMAccuracy', [[guessed(predicted, tokens, [[1, 0, 1]])]])
    assert report['mim/acc'] == expected
    assert report['mim/commonest'] == 50


def test_mim_accuracy_of_nothing_masked_is_zero_not_an_error():
    report = evaluate('MIMAccuracy', [[GUESSED[3]]])
    assert set(report.values()) == {0}
    assert len(report) == 5


def test_mim_error_is_over_all_values_of_the_places_to_predict():
    """Images with different numbers of places: the mean is over values, not over images."""
    torch.manual_seed(0)
    samples, squares = [], []
    for places in ([[1, 0], [0, 0]], [[1, 1], [0, 1]], [[0, 0], [0, 0]]):
        predicted, targets = torch.randn(2, 2, 3), torch.randn(2, 2, 3)
        samples.append(
            dict(predicted=predicted, targets=targets, places=torch.tensor(places).bool())
        )
        for y in range(2):
            for x in range(2):
                if places[y][x]:
                    squares += [float(predicted[y, x, v] - targets[y, x, v]) ** 2 for v in range(3)]
    assert len(squares) == 12
    report = evaluate('MIMError', split(samples, 2, 1))
    assert report == {'mim/mse': pytest.approx(sum(squares) / 12, rel=1e-5)}


def test_both_metrics_report_side_by_side():
    evaluator = Evaluator([dict(type='beit_mm.TokenizerMetric'), dict(type='beit_mm.MIMAccuracy')])
    # A guess, with what a tokenizer reports besides; its tokens are 1, 2, 3 and 9.
    evaluator.process(
        [BaseDataElement(**GUESSED[0], tokens=GUESSED[0]['targets'], recon_mse=0.5, vocab_size=10)]
    )
    assert evaluator.evaluate(1) == pytest.approx(
        {
            'tokenizer/recon_mse': 0.5,
            'tokenizer/codes_used': 4,
            'tokenizer/perplexity': 4.0,
            'tokenizer/places': 4,
            'mim/acc': 100.0,
            'mim/commonest': 50.0,
            'mim/codes_used': 2,
            'mim/perplexity': 2.0,
            'mim/places': 2,
        },
        rel=1e-6,
    )
