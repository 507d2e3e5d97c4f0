"""A small run in which all that is random in training is drawn, and comparisons of what is left."""

import itertools
import json
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn

from beit_mm.checkpoints import read_checkpoint
from beit_mm.datasets.places import seed_generators
from beit_mm.engine.running import exact_resume

run_numbers = itertools.count()


class Noisy(nn.Module):
    """Inputs that draw from each of the three global generators, as transforms do."""

    def __init__(self, length=22):
        super().__init__()
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        noise = torch.rand(4) + float(np.random.rand()) + random.random()
        return dict(inputs=noise + index, index=torch.tensor(index))


class Model(BaseModel):
    """Draws in training (dropout) and has a buffer that training changes (batch norm)."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1)
        )

    def forward(self, inputs, index, mode='tensor'):
        output = self.net(inputs)[:, 0]
        if mode == 'loss':
            return dict(loss=F.mse_loss(output, index.float()), drawn=inputs.sum())
        return [dict(value=v + torch.rand(())) for v in output]


class Mean(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += [float(sample['value']) for sample in data_samples]

    def compute_metrics(self, results):
        return dict(mean=sum(results) / len(results))


class Killed(Exception):
    """Stands in for the end of a process."""


class KillAt(Hook):
    """After all other hooks, the checkpoint's too."""

    priority = 'LOWEST'

    def __init__(self, iteration, in_validation=False):
        self.iteration, self.in_validation = iteration, in_validation

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iteration and not self.in_validation:
            raise Killed

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == self.iteration and self.in_validation:
            raise Killed


def train(
    work_dir, loop, hooks=(), resume=False, seed=3, workers=0, batch_size=4, log_interval=1,
    length=22, load_from=None, **checkpoint,
):  # fmt: skip
    """Train; whatever state the generators of this process are in must not matter."""
    seed_generators(int.from_bytes(random.SystemRandom().randbytes(4), 'little'))
    by_epoch = 'max_epochs' in loop
    loader = dict(
        dataset=Noisy(length),
        batch_size=batch_size,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
    )
    sampler = loop.pop('sampler', 'DefaultSampler')
    torch.manual_seed(0)
    runner = Runner(
        model=Model(),
        work_dir=str(work_dir),
        train_dataloader={
            **loader,
            'num_workers': workers,
            'sampler': dict(type=sampler, shuffle=True),
        },
        val_dataloader=exact_resume.placed_dataloader(loader),
        val_cfg=dict(),
        val_evaluator=[Mean(prefix='val')],
        train_cfg=exact_resume.exact_train_cfg(loop),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01), clip_grad=dict(max_norm=1.0)),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=5),
            dict(type='CosineAnnealingLR', by_epoch=by_epoch, T_max=3 if by_epoch else 15),
        ],
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=log_interval),
            checkpoint=dict(type='beit_mm.WholeCheckpointHook', **checkpoint),
        ),
        custom_hooks=[
            dict(type='beit_mm.PublicWeightsHook'),
            dict(type='EMAHook', momentum=0.1),
            *hooks,
        ],
        log_processor=dict(by_epoch=by_epoch, window_size=7),
        randomness=dict(seed=seed),
        resume=resume,
        load_from=load_from,
        log_level='WARNING',
        experiment_name=f'test_exact_resume_{next(run_numbers)}',
    )
    runner.train()
    return runner


def logged(work_dir):
    """Every number of the log but times, by step; of repeated steps both."""
    lines = {}
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        for text in path.read_text().splitlines():
            line = json.loads(text)
            for name in ('time', 'data_time', 'eta', 'memory'):
                line.pop(name, None)
            lines.setdefault((line['step'], 'loss' in line), []).append(line)
    return lines


def assert_same(left, right, where=''):
    """The same types, the same values, bit for bit."""
    if isinstance(left, torch.Tensor):
        assert left.dtype == right.dtype, where
        assert torch.equal(left, right), where
    elif isinstance(left, dict):
        assert list(left) == list(right), where
        for name in left:
            assert_same(left[name], right[name], f'{where}.{name}')
    elif isinstance(left, (list, tuple)):
        assert len(left) == len(right), where
        for index, pair in enumerate(zip(left, right, strict=True)):
            assert_same(*pair, f'{where}[{index}]')
    else:
        assert left == right, where


def assert_same_end(one, other, name, logs=True):
    """Checkpoints and logs of two runs."""
    left, right = (read_checkpoint(folder / name) for folder in (one, other))
    for part in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
        assert_same(left.get(part), right.get(part), part)
    histories = [
        {
            key: (log._log_history.tolist(), log._count_history.tolist())
            for key, log in content['message_hub']['log_scalars'].items()
            if not key.endswith('time')
        }
        for content in (left, right)
    ]
    assert_same(*histories)
    if not logs:
        return
    undisturbed, resumed = logged(one), logged(other)
    assert undisturbed.keys() == resumed.keys()
    for step, lines in undisturbed.items():
        # What was done after the last checkpoint is done, and logged, again.
        assert all(line in resumed[step] for line in lines), step
        assert all(line in lines for line in resumed[step]), step


# 22 images: 6 iterations an epoch, the last of 2 images.
LOOPS = {
    'epochs': dict(by_epoch=True, max_epochs=3),
    'endless': dict(by_epoch=False, max_iters=18, val_interval=6, sampler='InfiniteSampler'),
    'passes': dict(by_epoch=False, max_iters=18, val_interval=6),
}
