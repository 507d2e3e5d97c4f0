"""Steps of the optimizer that are longer than an epoch, or than the run."""

import logging
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, load_checkpoint
from noisy_run import KillAt, Killed, Model, assert_same, assert_same_end, logged, train
from torch import nn
from torch.utils.data import DataLoader

from beit_mm.checkpoints import read_checkpoint
from beit_mm.engine.running import accumulated
from beit_mm.engine.running.accumulated import KEY, Pace, announce_pace, put_back
from beit_mm.engine.running.stop_signals import REQUEUE


def train_few(work_dir, *hooks, batch=2048, epochs=3, **settings):
    """36 images, 3 iterations an epoch, 128 a step: as the recipe has it, on a few photos."""
    global_batch = dict(type='beit_mm.GlobalBatchSizeHook', global_batch_size=batch)
    return train(
        work_dir, dict(by_epoch=True, max_epochs=epochs), [global_batch, *hooks],
        **dict(by_epoch=True, interval=1, length=36, batch_size=16) | settings,
    )  # fmt: skip


class Watch(Hook):
    """Copies of what there is after each iteration, before anything is saved."""

    def __init__(self):
        self.weights, self.gradients, self.lines = {}, {}, []

    def before_train(self, runner):
        handler = logging.Handler()
        handler.emit = lambda record: self.note(record.getMessage())
        runner.logger.addHandler(handler)
        runner.logger.setLevel(logging.INFO)

    def note(self, line):
        path = Path(line.partition(' ')[0])
        self.lines.append((line, path.is_file()))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        state = runner.model.state_dict()
        self.weights[runner.iter + 1] = {name: t.clone() for name, t in state.items()}
        self.gradients[runner.iter + 1] = {
            name: p.grad.clone() for name, p in runner.model.named_parameters()
            if p.grad is not None
        }  # fmt: skip


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    folder, watch = tmp_path_factory.mktemp('undisturbed'), Watch()
    # The averages would be saved in the place of the weights.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('mmengine.hooks.EMAHook.before_save_checkpoint', lambda *_, **__: None)
        train_few(folder / 'bare', watch)
    train_few(folder)
    return folder, watch


def test_a_checkpoint_holds_what_its_name_says(undisturbed):
    folder, watch = undisturbed
    for epoch in (1, 2, 3):
        content = read_checkpoint(folder / 'bare' / f'epoch_{epoch}.pth')
        assert content['meta']['iter'] == 3 * epoch
        assert_same(dict(content['state_dict']), watch.weights[3 * epoch])
        if epoch == 3:
            assert KEY not in content
            continue
        assert content[KEY]['iterations'] == 3 * epoch
        assert_same(content[KEY]['gradients'], [watch.gradients[3 * epoch]])
    # The weights have moved at the end and never before.
    assert torch.equal(watch.weights[1]['net.0.weight'], watch.weights[8]['net.0.weight'])
    assert not torch.equal(watch.weights[8]['net.0.weight'], watch.weights[9]['net.0.weight'])


def test_a_save_is_said_when_it_is_done(undisturbed):
    lines = undisturbed[1].lines
    saved = [(line, there) for line, there in lines if 'is saved' in line]
    assert [Path(line.partition(' ')[0]).name for line, _ in saved] == [
        'epoch_1.pth', 'epoch_2.pth', 'epoch_3.pth',
    ]  # fmt: skip
    assert all(there for _, there in saved)
    assert 'after 0 iterations, and the gradients of 3' in saved[0][0]
    assert saved[2][0].endswith('the weights after 9 iterations')
    assert not any('Saving' in line for line, _ in lines)


class Send(Hook):
    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.iteration:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize('at', range(1, 9))
def test_sigterm_is_answered_within_an_iteration(tmp_path, undisturbed, at):
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop:
        train_few(tmp_path, Send(at))
    signal.signal(signal.SIGTERM, handler)
    assert stop.value.code == REQUEUE
    assert Path((tmp_path / 'last_checkpoint').read_text()).name == f'iter_{at}.pth'
    assert max(step for step, training in logged(tmp_path) if training) == at
    train_few(tmp_path, resume=True)
    assert_same_end(undisturbed[0], tmp_path, 'epoch_3.pth')


@pytest.mark.parametrize('at', [[2], [3], [5], [1, 4, 8]], ids=str)
@pytest.mark.parametrize('name', ['epoch_3.pth', 'iter_9.pth'])
def test_a_kill_costs_nothing_but_time(tmp_path, at, name):
    first, second, settings = (
        tmp_path / 'first',
        tmp_path / 'second',
        dict(by_epoch='e' in name[:1]),
    )
    train_few(first, **settings)
    for number, iteration in enumerate(at):
        with pytest.raises(Killed):
            train_few(second, KillAt(iteration), resume=number > 0, **settings)
    train_few(second, resume=True, **settings)
    assert_same_end(first, second, name)


class Spoil(Hook):
    """A gradient that is infinite, which must outlive the stop too: the step is left out."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == 3:
            runner.model.net[0].weight.grad[0, 0] = torch.inf


def test_what_is_not_finite_is_left_out_after_a_stop_too(tmp_path):
    first, second = tmp_path / 'first', tmp_path / 'second'
    hooks = [Spoil(), dict(type='beit_mm.NonFiniteHook')]
    settings = dict(by_epoch=False, batch=64, epochs=4)
    train_few(first, *hooks, **settings)
    with pytest.raises(Killed):
        train_few(second, *hooks, KillAt(3), **settings)
    train_few(second, hooks[1], resume=True, **settings)
    assert_same_end(first, second, 'iter_12.pth', logs=False)
    reports = [sorted(path.name for path in f.glob('non_finite/*')) for f in (first, second)]
    assert reports == [['iter_4.json'], ['iter_4.json']]


def test_gradients_of_other_steps_are_left_out_and_that_is_said(tmp_path, capsys):
    with pytest.raises(Killed):
        train_few(tmp_path, KillAt(5), by_epoch=False)
    capsys.readouterr()
    runner = train_few(tmp_path, resume=True, batch=32, by_epoch=False)
    assert 'gradients of 5 iteration(s) in the checkpoint are left out' in capsys.readouterr().out
    assert KEY not in read_checkpoint(tmp_path / 'iter_8.pth')
    assert runner.iter == 9


def test_gradients_that_are_taken_up_are_not_said_to_be_lost(tmp_path, capsys):
    with pytest.raises(Killed):
        train_few(tmp_path, KillAt(5), by_epoch=False)
    capsys.readouterr()
    train_few(tmp_path, resume=True, by_epoch=False)
    assert 'lost' not in capsys.readouterr().out


def test_mmengine_alone_reads_the_file(undisturbed):
    path = undisturbed[0] / 'epoch_1.pth'
    model = Model()
    load_checkpoint(model, str(path), strict=True)
    assert_same(dict(model.state_dict()), dict(read_checkpoint(path)['state_dict']))


@pytest.mark.parametrize('processes', [1, 3])
def test_another_number_of_processes_goes_on_with_the_mean(monkeypatch, processes):
    """Of two processes' gradients; the step's mean over the processes is then as it would be."""
    monkeypatch.setattr(accumulated, 'get_world_size', lambda: processes)
    model = nn.Linear(2, 1)
    saved = [dict(weight=torch.tensor([[1.0, 3.0]])), dict(weight=torch.tensor([[3.0, -1.0]]))]
    put_back(SimpleNamespace(model=model), dict(gradients=saved))
    assert model.weight.grad.tolist() == [[2.0, 1.0]]
    # Neither had one: weight decay would see a zero.
    assert model.bias.grad is None


# ----------------------------------------------------------------------------------------------
# How often
# ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('pace', 'advice'),
    [
        # What the recipe is made for.
        (Pace(500_000, 1, 2048, 625), ''),
        (Pace(80_000, 2, 8), ''),
        (Pace(100, 10, 16, 10), ''),
        # Once in two epochs, though often in the run.
        (Pace(6000, 128, 16, 64), 'set GlobalBatchSizeHook.global_batch_size to 1024 (94 changes)'),
        (Pace(64, 32, 2, by_hook=False), 'set optim_wrapper.accumulative_counts to 6 (11 changes)'),
        # Too short, whatever the batch.
        (Pace(6, 1, 16, 2), 'set train_cfg.max_epochs to 5'),
        (Pace(4, 1, 16), 'set train_cfg.max_iters to 10'),
        (
            Pace(4, 2, 16, by_hook=False),
            'set optim_wrapper.accumulative_counts to 1 (4 changes) and train_cfg.max_iters to 10',
        ),
    ],
)
def test_advice_is_given_where_the_weights_hardly_change(pace, advice):
    assert pace.advice() == advice


@pytest.mark.parametrize('an_epoch', range(1, 12))
@pytest.mark.parametrize('every', [1, 2, 7, 128])
@pytest.mark.parametrize('epochs', [1, 3, 40])
def test_whoever_follows_the_advice_hears_no_other(an_epoch, every, epochs):
    pace = Pace(an_epoch * epochs, every, 16, an_epoch)
    words = pace.advice().replace(',', '').split()
    if 'GlobalBatchSizeHook.global_batch_size' in words:
        batch = int(words[words.index('GlobalBatchSizeHook.global_batch_size') + 2])
        pace = pace._replace(every=batch // 16)
    if 'train_cfg.max_epochs' in words:
        epochs = int(words[words.index('train_cfg.max_epochs') + 2])
        pace = pace._replace(iterations=an_epoch * epochs)
    assert pace.advice() == ''


def test_the_start_says_how_often_the_weights_change(tmp_path, capsys):
    train_few(tmp_path / 'never')
    assert 'WARNING - The weights change once in this run, every 128 iterations of 16 images, an ' \
        'epoch has 3: set GlobalBatchSizeHook.global_batch_size to 16 (9 changes) and ' \
        'train_cfg.max_epochs to 4' in capsys.readouterr().out  # fmt: skip
    train_few(tmp_path / 'often', batch=16, epochs=4)
    assert 'The weights change' not in capsys.readouterr().out


def test_a_run_without_a_full_batch_is_told_that_nothing_will_change(monkeypatch):
    runner = SimpleNamespace(world_size=2, optim_wrapper=None)
    batches = DataLoader(range(20), 16, sampler=range(10), drop_last=True)
    runner.train_loop = EpochBasedTrainLoop(runner, batches, max_epochs=3)
    said = []
    monkeypatch.setattr(accumulated, 'print_log', lambda line, **_: said.append(line))
    announce_pace(runner)
    assert said == [
        'The weights never change: 20 image(s) make no full batch. Set '
        'train_dataloader.batch_size to at most 10'
    ]
