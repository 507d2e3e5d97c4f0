"""What is corrupted in masked patch prediction, beside the laws it is drawn by."""

from itertools import islice

import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS
from scipy.stats import binom, chisquare

from beit_mm.datasets import (
    PatchCorruptionGenerator,
    PlacedSampler,
    SeededDataset,
    corrupt_patches,
)
from beit_mm.datasets.masks.corrupted_patches import MASK_TOKEN
from beit_mm.datasets.places import SAMPLE, Place

GRID, PATCHES, DRAWS = (3, 5), 15, 4000


def drawn(share=0.5, **shares):
    rng = np.random.default_rng(0)
    every = [corrupt_patches(GRID, share, rng=rng, **shares) for _ in range(DRAWS)]
    return [np.stack(part).reshape(DRAWS, PATCHES) for part in zip(*every, strict=True)]


def test_counts_follow_their_binomial_laws():
    mask, sources = drawn(0.4)
    own = np.arange(PATCHES)
    assert (mask.sum(axis=1) == 6).all()
    assert (sources[~mask] == np.broadcast_to(own, mask.shape)[~mask]).all()
    # Each place as often as any other.
    assert chisquare(mask.sum(axis=0)).pvalue > 1e-3
    hidden, kept = mask & (sources == MASK_TOKEN), mask & (sources == own)
    for fate, share in ((hidden, 0.8), (kept, 0.1), (mask & ~hidden & ~kept, 0.1)):
        counts = np.bincount(fate.sum(axis=1), minlength=7)
        expected = DRAWS * binom.pmf(np.arange(7), 6, share)
        # Rare counts together, as the test wants five of each.
        often = expected >= 5
        observed = [*counts[often], counts[~often].sum()]
        assert chisquare(observed, [*expected[often], expected[~often].sum()]).pvalue > 1e-3


def test_another_patch_is_any_but_the_one_replaced():
    mask, sources = drawn(mask_share=0.0, other_share=1.0)
    pairs = np.zeros((PATCHES, PATCHES), int)
    np.add.at(pairs, (np.nonzero(mask)[1], sources[mask]), 1)
    assert not pairs.diagonal().any()
    assert chisquare(pairs[~np.eye(PATCHES, dtype=bool)]).pvalue > 1e-3


@pytest.mark.parametrize(
    ('settings', 'said'),
    [
        (dict(share=0.0), 'share is 0.0; it must be between 0 and 1'),
        (dict(share=1.0), 'share is 1.0; it must be between 0 and 1'),
        (dict(share=float('nan')), 'share is nan; it must be between 0 and 1'),
        (dict(share=0.01), 'share 0.01 of 3 x 5 patches is 0; some must be corrupted'),
        (dict(mask_share=0.8, other_share=0.3), 'their sum at most 1: the rest is kept'),
        (dict(mask_share=-0.1), 'both must be at least 0'),
    ],
)
def test_shares_that_cannot_be_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        PatchCorruptionGenerator(GRID, **settings)
    with pytest.raises(ValueError, match=said):
        corrupt_patches(GRID, **settings)


class Samples:
    """Samples that are nothing but what becomes of their patches."""

    def __init__(self):
        step = dict(type='beit_mm.PatchCorruptionGenerator', grid_size=GRID)
        self.step = TRANSFORMS.build(step)

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return self.step({})


def test_the_corruption_follows_from_seed_and_place_whatever_the_processes(monkeypatch):
    seed, data = 3, SeededDataset(Samples())

    def of(rank, world_size, start=0):
        for module in ('mmengine.dataset.sampler', 'beit_mm.datasets.places'):
            monkeypatch.setattr(f'{module}.get_dist_info', lambda: (rank, world_size))
        sampler = PlacedSampler(dict(type='InfiniteSampler'), data, seed)
        sampler.start = start
        return [data[place] for place in islice(sampler, 4)]

    alone = of(0, 1)
    for rank in (0, 1):
        for together, expected in zip(of(rank, 2), alone[rank::2], strict=False):
            assert (together['mask'] == expected['mask']).all()
            assert torch.equal(together['sources'], expected['sources'])
    # Resumed at its third sample.
    assert torch.equal(of(0, 1, start=2)[0]['sources'], alone[2]['sources'])
    # Of another seed.
    assert not torch.equal(data[Place(0, (SAMPLE, 9, 0, 0))]['sources'], alone[0]['sources'])
