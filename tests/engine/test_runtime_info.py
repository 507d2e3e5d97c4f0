"""Numbers of a step are read when they are logged, not sooner, and are mmengine's numbers."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.runner import Runner
from noisy_run import KillAt, Killed, Model, Noisy
from torch.utils._python_dispatch import TorchDispatchMode

from beit_mm.checkpoints import read_checkpoint
from beit_mm.engine.optimizing.fused_adamw import fused_devices
from beit_mm.engine.optimizing.gradient_norm import ClipInOrder
from beit_mm.engine.optimizing.param_groups import share_groups_of_config
from beit_mm.engine.running.exact_resume import ExactEpochBasedTrainLoop, exact_train_cfg
from beit_mm.engine.running.non_finite import Step
from beit_mm.engine.running.runtime_info import RuntimeInfoHook
from beit_mm.engine.running.stop_signals import StopSignals

run_numbers = itertools.count()
# Of some steps the norm is above it.
MAX_NORM = 55.0
# What the host cannot go on without: a number, or a shape that a device decides.
WAITS = ('aten._local_scalar_dense', 'aten.nonzero', 'aten.equal', 'aten.masked_select')


class Waits(TorchDispatchMode):
    """Which operations were called that a GPU would make the host wait for."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if str(func).startswith(WAITS):
            self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


def train(work_dir, runtime_info, interval=4, resume=False, kill_at=None, by_epoch=True):
    cfg = Config(
        dict(
            optim_wrapper=dict(
                optimizer=dict(type='beit_mm.FusedAdamW', lr=0.01),
                clip_grad=dict(max_norm=MAX_NORM),
            )
        )
    )
    share_groups_of_config(cfg)
    torch.manual_seed(0)
    loop = dict(by_epoch=True, max_epochs=3) if by_epoch else dict(by_epoch=False, max_iters=17)
    runner = Runner(
        model=Model(),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=Noisy(),
            batch_size=4,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=True),
            collate_fn=dict(type='default_collate'),
        ),
        train_cfg=exact_train_cfg(loop),
        optim_wrapper=cfg.optim_wrapper,
        default_hooks=dict(
            runtime_info=dict(type=runtime_info),
            logger=dict(type='LoggerHook', interval=interval),
            checkpoint=dict(type='beit_mm.WholeCheckpointHook', by_epoch=False, interval=5),
            non_finite=dict(type='beit_mm.NonFiniteHook'),
        ),
        custom_hooks=[dict(type='beit_mm.PublicWeightsHook'), KillAt(kill_at)],
        log_processor=dict(by_epoch=by_epoch, window_size=3),
        randomness=dict(seed=1),
        resume=resume,
        log_level='WARNING',
        experiment_name=f'test_runtime_info_{next(run_numbers)}',
    )
    runner.train()
    return runner


def histories(checkpoint):
    logs = checkpoint['message_hub']['log_scalars'].items()
    return {n: log._log_history.tolist() for n, log in logs if not n.endswith('time')}


def lines(work_dir):
    texts = [p.read_text() for p in sorted(work_dir.glob('*/vis_data/scalars.json'))]
    every = [json.loads(line) for line in ''.join(texts).splitlines()]
    return [{k: v for k, v in line.items() if not k.endswith('time')} for line in every]


@pytest.mark.parametrize('by_epoch', [True, False], ids=['epochs', 'iterations'])
@pytest.mark.parametrize('interval', [1, 4, 100])
def test_log_and_checkpoint_have_mmengines_numbers(tmp_path, interval, by_epoch):
    for name in ('RuntimeInfoHook', 'beit_mm.RuntimeInfoHook'):
        runner = train(tmp_path / name, name, interval, by_epoch=by_epoch)
    theirs, ours = tmp_path / 'RuntimeInfoHook', tmp_path / 'beit_mm.RuntimeInfoHook'
    logged = lines(ours)
    clipped = [(line['iter'], line.pop('grad_clipped')) for line in logged if 'lr' in line]
    assert logged == lines(theirs)
    assert logged
    for iteration in (5, 15):
        one, other = (read_checkpoint(f / f'iter_{iteration}.pth') for f in (ours, theirs))
        kept = histories(one)
        kept.pop('train/grad_clipped', None)
        assert kept == histories(other)
        assert len(histories(one)['train/grad_norm']) == iteration
        for name, weight in other['state_dict'].items():
            assert torch.equal(weight, one['state_dict'][name]), name
    norms, _ = runner.message_hub.get_scalar('train/grad_norm').data
    for iteration, share in clipped:
        last = norms[max(0, iteration - interval) : iteration]
        assert share == pytest.approx(100 * np.mean(last > MAX_NORM))
    assert interval == 100 or len({share for _, share in clipped}) > 1


@pytest.mark.parametrize(('interval', 'share'), [(8, 25), (3, 100 / 3), (2, 50)])
def test_norms_that_are_not_finite_clip_nothing(interval, share):
    runner = SimpleNamespace(
        message_hub=MessageHub.get_instance(f'test_runtime_info_{next(run_numbers)}'),
        optim_wrapper=SimpleNamespace(clip_grad_kwargs=dict(max_norm=MAX_NORM)),
    )
    hook = RuntimeInfoHook()
    hook.interval, hook.clipping = interval, ClipInOrder([])
    tensor = torch.tensor(MAX_NORM)
    for scale in (2, 0.5, 1, 0.5, 0.5, float('inf'), float('nan'), 3):
        hook.unread.append(('train/grad_norm', scale * tensor))
    hook.read(runner)
    hook._tell_clipped(runner)
    told = runner.message_hub.get_scalar('train/grad_clipped').current()
    assert told == pytest.approx(share)


def test_a_resumed_run_goes_on_with_the_numbers(tmp_path):
    train(tmp_path / 'whole', 'beit_mm.RuntimeInfoHook')
    with pytest.raises(Killed):
        train(tmp_path / 'killed', 'beit_mm.RuntimeInfoHook', kill_at=8)
    train(tmp_path / 'killed', 'beit_mm.RuntimeInfoHook', resume=True)
    whole, resumed = (read_checkpoint(tmp_path / n / 'iter_15.pth') for n in ('whole', 'killed'))
    assert histories(whole) == histories(resumed)


def waits_of_iterations(work_dir, runtime_info, monkeypatch):
    """How often each iteration of 18 would have made the host wait for a GPU."""
    counts = []
    run_iter = ExactEpochBasedTrainLoop.run_iter

    def watched(*args):
        with Waits() as waits:
            run_iter(*args)
        counts.append(len(waits.seen))

    with monkeypatch.context() as patch:
        patch.setattr(ExactEpochBasedTrainLoop, 'run_iter', watched)
        train(work_dir, runtime_info, interval=6)
    return counts


@pytest.mark.skipif(
    'cpu' not in fused_devices(), reason='without fused steps the optimizer reads its own counters'
)
def test_no_iteration_waits_for_the_device(tmp_path, monkeypatch):
    """Other than those that log, every sixth, or save, every fifth."""
    # On a GPU the norm is on its way while the next step runs; the signal is the CPU's own number.
    monkeypatch.setattr(Step, 'read_norm', lambda self: 0.0)
    monkeypatch.setattr(StopSignals, 'agreed', lambda self: 0)
    ours, theirs = (
        waits_of_iterations(tmp_path / name, name, monkeypatch)
        for name in ('beit_mm.RuntimeInfoHook', 'RuntimeInfoHook')
    )
    assert [n for i, n in enumerate(ours, 1) if i % 6 and i % 5] == [0] * 12
    # The loss, what the model says beside it, and the norm.
    assert min(theirs) >= 3
