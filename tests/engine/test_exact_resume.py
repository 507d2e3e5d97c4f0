"""A run that was stopped and resumed, held against one that was not: every bit of what is left."""

import itertools
import operator
import pickle
import random

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset, DefaultSampler, InfiniteSampler
from mmengine.runner import Runner
from noisy_run import LOOPS, KillAt, Killed, Noisy, assert_same, assert_same_end, logged, train

from beit_mm.checkpoints import read_checkpoint
from beit_mm.datasets import PlacedSampler, SeededDataset
from beit_mm.datasets.places import Place, seed_generators
from beit_mm.engine.running import exact_resume
from beit_mm.engine.running.exact_resume import exact_train_cfg, placed_dataloader


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    """One run of each loop that was never stopped."""
    folders = {}
    for name, loop in LOOPS.items():
        folders[name] = tmp_path_factory.mktemp(name)
        train(folders[name], dict(loop), by_epoch=False, interval=1, max_keep_ckpts=1)
    return folders


@pytest.mark.parametrize('loop', LOOPS)
@pytest.mark.parametrize(
    ('at', 'workers'),
    [([1], 0), ([5], 0), ([6], 0), ([12], 0), ([18], 0), ([4, 6, 9, 17], 0), ([8], 2)],
    ids=str,
)
def test_resumed_is_undisturbed(tmp_path, undisturbed, loop, at, workers):
    """At the start, in the middle and at the end of an epoch and of the run; several times."""
    settings = dict(by_epoch=False, interval=1, max_keep_ckpts=1, workers=workers)
    for number, iteration in enumerate(at):
        with pytest.raises(Killed):
            train(tmp_path, dict(LOOPS[loop]), [KillAt(iteration)], resume=number > 0, **settings)
    train(tmp_path, dict(LOOPS[loop]), resume=True, **settings)
    assert_same_end(undisturbed[loop], tmp_path, 'iter_18.pth')
    assert [path.name for path in tmp_path.glob('*.pth')] == ['iter_18.pth']


@pytest.mark.parametrize('loop', LOOPS)
def test_a_run_killed_in_validation_validates_when_resumed(tmp_path, undisturbed, loop):
    settings = dict(by_epoch=False, interval=1, max_keep_ckpts=1)
    with pytest.raises(Killed):
        train(tmp_path, dict(LOOPS[loop]), [KillAt(12, in_validation=True)], **settings)
    train(tmp_path, dict(LOOPS[loop]), resume=True, **settings)
    assert_same_end(undisturbed[loop], tmp_path, 'iter_18.pth')


def test_iterations_since_the_last_checkpoint_are_repeated_alike(tmp_path, undisturbed):
    settings = dict(by_epoch=False, interval=4, max_keep_ckpts=1)
    with pytest.raises(Killed):
        train(tmp_path, dict(LOOPS['epochs']), [KillAt(11)], **settings)
    train(tmp_path, dict(LOOPS['epochs']), resume=True, **settings)
    assert len(logged(tmp_path)[9, True]) == 2
    assert_same_end(undisturbed['epochs'], tmp_path, 'iter_18.pth')


def test_validation_draws_alike_each_time_whoever_loads():
    def batches(workers):
        loader = dict(
            dataset=Noisy(), batch_size=5, num_workers=workers, drop_last=False,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
        )  # fmt: skip
        return list(Runner.build_dataloader(placed_dataloader(loader), seed=1))

    assert_same(batches(0), batches(0))
    assert_same(batches(0), batches(2))


@pytest.mark.parametrize('seed', [None, 4])
def test_the_seed_is_the_checkpoints(tmp_path, seed):
    """Of a run without a seed, mmengine draws one; it is drawn anew when the run is resumed."""
    settings = dict(by_epoch=True, interval=1)
    first, second = tmp_path / 'first', tmp_path / 'second'
    with pytest.raises(Killed):
        train(second, dict(LOOPS['epochs']), [KillAt(8)], seed=seed, **settings)
    drawn = read_checkpoint(second / 'epoch_1.pth')['meta']['seed']
    train(second, dict(LOOPS['epochs']), resume=True, seed=None, **settings)
    train(first, dict(LOOPS['epochs']), seed=drawn, **settings)
    assert_same_end(first, second, 'epoch_3.pth')


@pytest.mark.parametrize('by_epoch', [True, False])
@pytest.mark.parametrize('at', [7, 8, 13, 15])
def test_accumulated_gradients_are_not_lost(tmp_path, by_epoch, at):
    """Four iterations a step, six an epoch: every other epoch ends between two steps."""
    hooks = [dict(type='beit_mm.GlobalBatchSizeHook', global_batch_size=16)]
    first, second = tmp_path / 'first', tmp_path / 'second'
    settings = dict(by_epoch=by_epoch, interval=1 if by_epoch else 3)
    train(first, dict(LOOPS['epochs']), hooks, **settings)
    with pytest.raises(Killed):
        train(second, dict(LOOPS['epochs']), [*hooks, KillAt(at)], **settings)
    train(second, dict(LOOPS['epochs']), hooks, resume=True, **settings)
    assert_same_end(first, second, 'epoch_3.pth' if by_epoch else 'iter_18.pth')


def test_without_exact_loops_a_resumed_run_differs(tmp_path):
    """What the tests above can tell: mmengine's own loop does not pass them."""
    first, second = tmp_path / 'first', tmp_path / 'second'
    loop = dict(type='mmengine.EpochBasedTrainLoop', max_epochs=3)
    settings = dict(by_epoch=True, interval=1)

    def stock(*args, **kwargs):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(exact_resume, 'exact_train_cfg', lambda cfg: cfg)
            return train(*args, **kwargs)

    stock(first, dict(loop), **settings)
    with pytest.raises(Killed):
        stock(second, dict(loop), [KillAt(8)], **settings)
    stock(second, dict(loop), resume=True, **settings)
    with pytest.raises(AssertionError):
        assert_same_end(first, second, 'epoch_3.pth')


# ----------------------------------------------------------------------------------------------
# Places
# ----------------------------------------------------------------------------------------------


def order(sampler, epoch=0, start=0, number=50, **settings):
    placed = PlacedSampler(dict(type=sampler, **settings), Noisy(), seed=5)
    placed.epoch, placed.start = epoch, start
    return list(itertools.islice(placed, number))


@pytest.mark.parametrize('sampler', ['DefaultSampler', 'InfiniteSampler'])
@pytest.mark.parametrize('start', [0, 1, 7, 22])
def test_a_start_leaves_out_what_was_before_it(sampler, start):
    whole, rest = order(sampler, 2), order(sampler, 2, start)
    whole, rest = whole[start:], rest[: len(whole) - start]
    assert rest == whole
    assert [place.numbers for place in rest] == [place.numbers for place in whole]


@pytest.mark.parametrize('epoch', [0, 3])
def test_the_order_is_mmengines(epoch):
    stock = DefaultSampler(Noisy(), shuffle=True, seed=5)
    stock.set_epoch(epoch)
    assert order('DefaultSampler', epoch) == list(stock)
    endless = itertools.islice(InfiniteSampler(Noisy(), shuffle=True, seed=5), 50)
    assert order('InfiniteSampler', epoch) == list(endless)


def test_no_two_places_of_a_run_share_their_numbers():
    numbers = [p.numbers for epoch in range(4) for p in order('DefaultSampler', epoch)]
    assert len(set(numbers)) == len(numbers) == 4 * 22


@pytest.mark.parametrize('processes', [2, 3, 8])
def test_processes_share_the_places_of_one(monkeypatch, processes):
    """24 images an iteration, whoever loads them."""
    alone = order('InfiniteSampler', number=48)
    for iteration in range(2):
        together = []
        for rank in range(processes):
            for module in ('mmengine.dataset.sampler', 'beit_mm.datasets.places'):
                monkeypatch.setattr(f'{module}.get_dist_info', lambda r=rank: (r, processes))
            share = 24 // processes
            together += order('InfiniteSampler', start=iteration * share, number=share)
        expected = alone[24 * iteration : 24 * (iteration + 1)]
        key = operator.attrgetter('numbers')
        assert sorted(together, key=key) == expected
        assert sorted(map(key, together)) == list(map(key, expected))


def test_a_sample_depends_on_its_place_alone():
    dataset = SeededDataset(Noisy())
    place = Place(3, (1, 5, 0, 17))
    first = dataset[place]['inputs']
    dataset[Place(4, (1, 5, 0, 18))]
    assert torch.equal(dataset[place]['inputs'], first)
    # Through the queue of a loader worker.
    assert torch.equal(dataset[pickle.loads(pickle.dumps(place))]['inputs'], first)
    for numbers in ((1, 6, 0, 17), (1, 5, 1, 17), (1, 5, 0, 16), (2, 5, 0, 17)):
        assert not torch.equal(dataset[Place(3, numbers)]['inputs'], first)


def test_seeding_reaches_all_three_generators():
    def draw(*numbers):
        seed_generators(*numbers)
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    assert draw(1, 2, 3) == draw(1, 2, 3)
    assert all(a != b for a, b in zip(draw(1, 2, 3), draw(1, 2, 4), strict=True))


def test_a_seeded_dataset_is_the_dataset_otherwise():
    inner = BaseDataset(metainfo=dict(a=1), lazy_init=True)
    dataset = pickle.loads(pickle.dumps(SeededDataset(inner)))
    assert dataset.metainfo == dict(a=1)
    with pytest.raises(AttributeError, match='nothing'):
        dataset.nothing  # noqa: B018


def test_other_loops_stay_as_they_are():
    assert exact_train_cfg(dict(type='mmdet.Other', a=1)) == dict(type='mmdet.Other', a=1)
    assert exact_train_cfg(dict(by_epoch=False, max_iters=2))['type'].endswith(
        'ExactIterBasedTrainLoop'
    )
