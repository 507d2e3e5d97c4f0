"""Counting and drawing places of codes."""

import math

import numpy as np
import pytest
from scipy.stats import chi2

from beit_mm.visualization import CodeUse


def counted(tokens, batch, **settings):
    use = CodeUse(**settings)
    for first in range(0, len(tokens), batch):
        use.add(tokens[first : first + batch], first)
    return use


def test_places_have_their_code_and_do_not_depend_on_the_batch():
    tokens = np.random.default_rng(0).integers(0, 7, (23, 3, 5))
    tokens[tokens == 4] = 3
    tokens[7, 1, 2] = 4
    one, other = (counted(tokens, batch, num_codes=8, keep=6) for batch in (1, 9))
    np.testing.assert_array_equal(one.counts, np.bincount(tokens.ravel(), minlength=8))
    for code in range(8):
        places = one.places_of(code)
        np.testing.assert_array_equal(places, other.places_of(code))
        assert len(places) == min(6, one.counts[code])
        assert len({tuple(place) for place in places}) == len(places)
        assert all(tokens[tuple(place)] == code for place in places)
    assert one.places_of(4).tolist() == [[7, 1, 2]]


def test_every_place_is_as_likely_to_be_kept():
    keep, draws = 5, 1500
    tokens = np.zeros((4, 2, 5), dtype=np.int64)
    found = np.zeros(tokens.shape)
    for seed in range(draws):
        for place in counted(tokens, 3, num_codes=1, keep=keep, seed=seed).places_of(0):
            found[tuple(place)] += 1
    expected = draws * keep / tokens.size
    # Of a draw without replacement the counts spread less, by the share that is left.
    statistic = ((found - expected) ** 2).sum() / expected / (1 - keep / tokens.size)
    low, high = chi2.ppf([0.001, 0.999], tokens.size - 1) * (tokens.size - 1) / tokens.size
    assert low < statistic < high


@pytest.mark.parametrize(
    ('counts', 'expected'),
    [([3, 3, 3, 0], 3), ([9, 0, 0, 0], 1), ([3, 1], 4 / 3 ** (3 / 4)), ([0, 0], 1)],
)
def test_perplexity_in_closed_form(counts, expected):
    use = CodeUse(len(counts), 1)
    use.counts += counts
    assert math.isclose(use.perplexity, expected)


def test_groups_are_of_different_codes_in_use():
    use = CodeUse(100, 1)
    use.counts[:60] = np.random.default_rng(0).permutation(60) + 1
    groups = use.groups(10)
    assert use.counts[groups['most used']].tolist() == list(range(60, 50, -1))
    assert use.counts[groups['rare']].tolist() == list(range(10, 0, -1))
    assert len(set(np.concatenate([*groups.values()]))) == 30
    # Of those between, every one is drawn sooner or later; they too by their use.
    drawn = set[int]()
    for use.seed in range(60):
        random = use.groups(10)['random']
        assert (np.diff(use.counts[random]) < 0).all()
        drawn |= {int(count) for count in use.counts[random]}
    assert drawn == {*range(11, 51)}
    use.counts[4:] = 0
    few = np.concatenate([*use.groups(10).values()])
    assert sorted(few) == [0, 1, 2, 3]
