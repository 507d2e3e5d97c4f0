"""Training from shards on the disk and in a bucket: kills in mid-epoch change nothing of it."""

import itertools
import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path

import fsspec
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from noisy_run import assert_same_end
from PIL import Image
from s3_server import s3_bucket
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent / 'datasets'))
from photos import encoded, pixels

from beit_mm.commands.sharding import shard
from beit_mm.datasets.sources import stores
from beit_mm.engine.running.exact_resume import exact_train_cfg

IMAGES, BATCH, EPOCHS = 60, 4, 3
ITERATIONS = IMAGES // BATCH * EPOCHS
run_numbers = itertools.count()
context = multiprocessing.get_context('fork')


class Sum(BaseModel):
    """Learns from both views, and has a buffer and dropout."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 4, 4, stride=4), nn.BatchNorm2d(4), nn.Dropout(0.2), nn.ReLU()
        )

    def forward(self, inputs, data_samples=None, mode='tensor'):
        first, second = (torch.stack(list(views)).float() / 255 for views in inputs)
        return dict(loss=(self.net(first).mean() - second.mean()) ** 2 + self.net(second).mean())


class Slow(Hook):
    """So that a kill comes in the middle of something; writes down what was seen."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        time.sleep(0.01)
        with open(f'{runner.work_dir}/seen', 'a') as file:
            names = [sample.img_path[-12:] for sample in data_batch['data_samples']]
            file.write(f'{runner.iter} {" ".join(names)}\n')


def train(where, work_dir):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        torch.manual_seed(0)
        Runner(
            model=Sum(),
            work_dir=str(work_dir),
            train_dataloader=dict(
                dataset=dict(
                    type='beit_mm.PhotoShards',
                    data_root=where,
                    fetch='shards',
                    pipeline=[
                        dict(type='beit_mm.LoadTwoViews', size=16, second_size=8),
                        dict(type='PackInputs'),
                    ],
                ),
                batch_size=BATCH,
                num_workers=2,
                sampler=dict(type='beit_mm.ShardSampler', window=2),
                collate_fn=dict(type='default_collate'),
            ),
            train_cfg=exact_train_cfg(dict(by_epoch=True, max_epochs=EPOCHS)),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
            default_scope='mmpretrain',
            default_hooks=dict(
                checkpoint=dict(
                    type='beit_mm.WholeCheckpointHook', by_epoch=False, interval=2,
                    max_keep_ckpts=2,
                ),
                broken_images=dict(type='beit_mm.BrokenImagesHook', max_share=0),
            ),
            custom_hooks=[dict(type='beit_mm.PublicWeightsHook'), Slow()],
            randomness=dict(seed=0),
            resume=True,
            log_level='ERROR',
            experiment_name=f'test_shard_training_{os.getpid()}_{next(run_numbers)}',
        ).train()  # fmt: skip


def life(where, work_dir, limits) -> multiprocessing.Process:
    """A run in a process of its own, with its own copies of shards."""
    work_dir.mkdir(exist_ok=True)
    os.environ.update(limits, BEIT_MM_CACHE=str(work_dir / 'cache'))
    process = context.Process(target=train, args=(where, work_dir))
    process.start()
    return process


def newest(work_dir) -> str:
    path = work_dir / 'last_checkpoint'
    return path.read_text() if path.is_file() else ''


@pytest.fixture(scope='module')
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp('photos')
    for number in range(IMAGES):
        path = folder / 'images' / str(number % 2) / f'{number}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(Image.fromarray(pixels(number)), 'JPEG'))
    return shard(folder / 'images', folder / 'shards', images=7)


@pytest.fixture(scope='module')
def bucket(shards):
    """The shards in a bucket of an S3 server of this process."""
    with s3_bucket('bucket') as url:
        for path in shards.iterdir():
            fsspec.filesystem('s3').put_file(str(path), f'bucket/shards/{path.name}')
        yield f'{url}/shards'


def kill(times, where, folder, limits):
    """The work directories of a run that was left alone, and of one that was killed."""
    undisturbed, killed = folder / 'undisturbed', folder / 'killed'
    process = life(where, undisturbed, limits)
    process.join()
    assert process.exitcode == 0
    rng, places = random.Random(0), []
    while len(places) < times:
        before = newest(killed)
        process = life(where, killed, limits)
        while newest(killed) == before and process.is_alive():
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.05))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        places.append(newest(killed))
    assert len(set(places)) == times
    process = life(where, killed, limits)
    process.join()
    assert process.exitcode == 0
    return undisturbed, killed


def seen(work_dir) -> dict[int, list[str]]:
    """What each iteration saw; of repeated ones all."""
    found = {}
    for line in (work_dir / 'seen').read_text().splitlines():
        iteration, *names = line.split()
        found.setdefault(int(iteration), set()).add(tuple(names))
    return found


# Of a bucket there is all that there is of a disk, and the fetching of shards.
@pytest.mark.slow
@pytest.mark.parametrize(('kind', 'times'), [('disk', 3), ('bucket', 7)])
def test_kills_cost_nothing_but_time(kind, times, shards, request, tmp_path, monkeypatch):
    where = str(shards) if kind == 'disk' else request.getfixturevalue('bucket')
    monkeypatch.setattr(stores, 'FIRST_PAUSE', 0.01)
    # Put back behind the test.
    for name in ('BEIT_MM_CACHE', 'BEIT_MM_CACHE_SIZE'):
        monkeypatch.setenv(name, '')
    largest = max(path.stat().st_size for path in shards.glob('*.tar'))
    # Room for two windows of two shards: fetching goes on all the time.
    limits = dict(BEIT_MM_CACHE_SIZE=str(int(4.5 * largest)))
    undisturbed, killed = kill(times, where, tmp_path, limits)
    assert_same_end(undisturbed, killed, f'iter_{ITERATIONS}.pth', logs=False)
    # Each iteration has one batch, however often it was done, and each epoch each image once.
    assert seen(killed) == seen(undisturbed)
    for epoch in range(EPOCHS):
        each = range(epoch * ITERATIONS // EPOCHS, (epoch + 1) * ITERATIONS // EPOCHS)
        names = [name for n in each for batch in seen(killed)[n] for name in batch]
        assert sorted(names) == [f'{number:08d}.jpg' for number in range(IMAGES)]
    copies = [path.stat().st_size for path in killed.glob('cache/stores/*/*')]
    assert (kind == 'bucket') == bool(copies)
    assert sum(copies) <= 4.5 * largest
