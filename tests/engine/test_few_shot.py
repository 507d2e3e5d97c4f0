"""Least squares in closed form against scikit-learn's Ridge, and by batches against at once."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.linear_model import Ridge

from beit_mm.engine.measuring.few_shot import (
    LEAST_SPREAD,
    LeastSquares,
    hits_of,
    interval_of_mean,
    order_of_shots,
)


def clouds(counts, dims=12, seed=0):
    """Features of unequal sizes, far from zero, of classes with so many images each."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    features = rng.normal(size=(len(labels), dims)) + rng.normal(size=(len(counts), dims))[labels]
    return features * np.logspace(-2, 2, dims) + 300, labels


def fitted(features, labels, classes, parts):
    learner = LeastSquares(features.shape[1], classes)
    for part in np.array_split(np.arange(len(labels)), parts):
        learner.add(torch.tensor(features[part]), torch.tensor(labels[part]))
    return learner


def standardised(features, by):
    return (features - by.mean(axis=0)) / (by.std(axis=0) + LEAST_SPREAD)


# Fewer images than features, more, and of unequal numbers, one of none.
@pytest.mark.parametrize('counts', [(1, 1), (2, 2, 2), (40, 40, 40), (3, 70, 0, 11)])
@pytest.mark.parametrize('l2', [1e-2, 2.0**10])
def test_scores_are_those_of_ridge(counts, l2):
    features, labels = clouds(counts)
    others, _ = clouds((30,) * len(counts), seed=1)
    targets = np.where(labels[:, None] == np.arange(len(counts)), 1.0, -1.0)
    ridge = Ridge(alpha=l2, solver='svd').fit(standardised(features, features), targets)
    expected = ridge.predict(standardised(others, features))
    # Some of the parts are empty.
    for parts in (1, 7, 200):
        scores = fitted(features, labels, len(counts), parts).solve(l2).scores(torch.tensor(others))
        np.testing.assert_allclose(scores.numpy(), expected, rtol=0, atol=1e-6)


def test_a_large_constant_in_the_place_of_the_free_bias_predicts_the_same():
    """big_vision's form, where all classes have as many images."""
    features, labels = clouds((5, 5, 5, 5))
    others, truth = clouds((200,) * 4, seed=1)
    targets = np.where(labels[:, None] == np.arange(4), 1.0, -1.0)
    with_constant = [
        np.pad(standardised(x, features), ((0, 0), (0, 1)), constant_values=100)
        for x in (features, others)
    ]
    ridge = Ridge(alpha=2.0**10, fit_intercept=False, solver='svd').fit(with_constant[0], targets)
    expected = ridge.predict(with_constant[1]).argmax(axis=1)
    classifier = fitted(features, labels, 4, parts=3).solve()
    found = classifier.scores(torch.tensor(others)).argmax(dim=1).numpy()
    assert len(set(expected)) == 4
    np.testing.assert_array_equal(found, expected)
    hits = hits_of([classifier, classifier], torch.tensor(others), torch.tensor(truth))
    assert hits.tolist() == [(expected == truth).sum()] * 2


def test_features_that_do_not_vary_say_nothing():
    features, labels = clouds((4, 4))
    constant = np.pad(features, ((0, 0), (0, 1)), constant_values=7.0)
    scores = [
        fitted(x, labels, 2, parts=2).solve().scores(torch.tensor(x)) for x in (features, constant)
    ]
    torch.testing.assert_close(*scores, rtol=0, atol=1e-9)


def test_without_images_there_is_no_classifier():
    with pytest.raises(ValueError, match='0 images'):
        LeastSquares(3, 2).solve()


def test_fewer_images_are_among_more_and_seeds_take_others():
    by_class = {'cat': [f'c{i}' for i in range(30)], 'dog': [f'd{i}' for i in range(9)]}
    orders = [order_of_shots(by_class, seed) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    for order in orders:
        assert {label: sorted(names) for label, names in order.items()} == {
            label: sorted(names) for label, names in by_class.items()
        }


def test_the_interval_is_students():
    values = [41.0, 44.5, 39.0, 47.5, 43.0]
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert interval_of_mean(values) == pytest.approx((high - low) / 2)
    assert np.isnan(interval_of_mean([41.0]))
