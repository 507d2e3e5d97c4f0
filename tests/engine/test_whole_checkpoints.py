"""Checkpoints at the worst moments: a kill at every step of saving, full disks, damage, signals."""

import os
import random
import resource
import shutil
import signal
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from noisy_run import LOOPS, KillAt, Killed, assert_same_end, train

from beit_mm.checkpoints import CheckpointError, read_checkpoint
from beit_mm.engine.running.stop_signals import REQUEUE, restarted
from beit_mm.engine.running.whole_checkpoints import check_saved, newest_whole
from beit_mm.engine.starting.launch import choose_start

EVERY = dict(by_epoch=False, interval=1, max_keep_ckpts=2)


def epochs() -> dict:
    return dict(LOOPS['epochs'])


def names(folder, pattern='*.pth') -> list[str]:
    return sorted(path.name for path in Path(folder).glob(pattern))


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp('undisturbed')
    train(folder, epochs(), **EVERY)
    return folder


@pytest.fixture
def stopped(undisturbed, tmp_path_factory):
    """A run that was killed after iteration 9, with checkpoints 8 and 9."""
    folder = tmp_path_factory.mktemp('stopped')
    with pytest.raises(Killed):
        train(folder, epochs(), [KillAt(9)], **EVERY)
    assert names(folder) == ['iter_8.pth', 'iter_9.pth']
    assert Path((folder / 'last_checkpoint').read_text()) == folder / 'iter_9.pth'
    return folder


class PowerCut(BaseException):
    """Nothing in the program can catch it, and nothing after it is run."""


class CutAt(Hook):
    """Ends the run at the n-th change of the file system that saving iteration 6 makes."""

    def __init__(self, patch, number):
        self.patch, self.left, self.seen = patch, number, 0

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == 6:
            for owner, name in ((os, 'fsync'), (os, 'replace'), (Path, 'unlink'),
                                (Path, 'write_text'), (torch, 'save')):  # fmt: skip
                self.patch.setattr(owner, name, self.cut(getattr(owner, name)))

    def cut(self, function):
        def cut_before(*args, **kwargs):
            self.left -= 1
            self.seen += 1
            if self.left == 0:
                raise PowerCut
            return function(*args, **kwargs)

        return cut_before

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == 7:
            raise PowerCut


def test_a_cut_at_any_step_of_saving_leaves_a_whole_checkpoint(tmp_path, undisturbed):
    number, saved = 0, set()
    while True:
        number += 1
        folder = tmp_path / str(number)
        with pytest.MonkeyPatch.context() as patch:
            hook = CutAt(patch, number)
            with pytest.raises(PowerCut):
                train(folder, epochs(), [hook], **EVERY)
        if hook.left > 0:
            break
        newest = newest_whole(folder, folder)
        saved.add(newest.name)
        # Neither is there a moment with fewer whole ones than are to be kept.
        assert sum(check_saved(path) is None for path in folder.glob('*.pth')) >= 2
    # Before the new name and after it, and once there was something to remove.
    assert saved == {'iter_5.pth', 'iter_6.pth'}
    assert number > 6
    # The last ones that were cut, and one before the renaming.
    for cut in (2, number - 1):
        folder = tmp_path / str(cut)
        train(folder, epochs(), resume=True, **EVERY)
        assert_same_end(undisturbed, folder, 'iter_18.pth')
        assert names(folder) == ['iter_17.pth', 'iter_18.pth']
        assert names(folder, '.*') == []


class SmallDisk(Hook):
    """From an iteration on no file can grow beyond a few kilobytes."""

    def __init__(self, iteration, size):
        self.iteration, self.size = iteration, size

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.runner = runner
        if runner.iter + 1 == self.iteration:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, resource.RLIM_INFINITY))


@pytest.mark.parametrize('size', [0, 1, 6000])
def test_a_full_disk_is_an_error_that_leaves_the_last_good_checkpoint(tmp_path, undisturbed, size):
    small = SmallDisk(8, size)
    settings = dict(by_epoch=False, interval=4, max_keep_ckpts=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The log is on that disk too, and would stop the run before.
    quiet = dict(log_interval=100)
    try:
        with pytest.raises(
            CheckpointError, match=r'iter_8\.pth could not be saved.*File too large'
        ):
            train(tmp_path, epochs(), [small], **quiet, **settings)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(tmp_path) == ['iter_4.pth']
    assert names(tmp_path, '.*') == []
    assert Path((tmp_path / 'last_checkpoint').read_text()) == tmp_path / 'iter_4.pth'
    hub = small.runner.message_hub
    assert hub.get_info('last_ckpt') == str(tmp_path / 'iter_4.pth')
    assert hub.get_info('kept_ckpts') == ['iter_4.pth']
    train(tmp_path, epochs(), resume=True, **settings)
    assert_same_end(undisturbed, tmp_path, 'iter_18.pth', logs=False)


def test_a_newest_checkpoint_cut_off_at_50_places_is_passed_over(stopped):
    newest = stopped / 'iter_9.pth'
    content = newest.read_bytes()
    rng = random.Random(0)
    for place in [0, len(content) - 1, *(rng.randrange(len(content)) for _ in range(50))]:
        newest.write_bytes(content[:place])
        assert newest_whole(stopped, stopped) == stopped / 'iter_8.pth'
    newest.write_bytes(content)
    assert newest_whole(stopped, stopped) == newest


def test_resuming_passes_over_a_damaged_newest_and_says_so(stopped, undisturbed, capsys):
    content = (stopped / 'iter_9.pth').read_bytes()
    (stopped / 'iter_9.pth').write_bytes(content[: len(content) // 2])
    train(stopped, epochs(), resume=True, **EVERY)
    assert f'Passed over: {stopped}/iter_9.pth' in capsys.readouterr().out
    assert_same_end(undisturbed, stopped, 'iter_18.pth')
    assert names(stopped) == ['iter_17.pth', 'iter_18.pth']


def test_a_folder_that_was_moved_is_resumed(stopped, tmp_path):
    moved = tmp_path / 'moved'
    shutil.move(stopped, moved)
    assert newest_whole(moved, moved) == moved / 'iter_9.pth'


def test_if_all_are_damaged_nothing_is_begun_anew(stopped):
    for path in stopped.glob('*.pth'):
        path.write_bytes(b'nothing')
    with pytest.raises(CheckpointError, match='none of its 2 checkpoint'):
        train(stopped, epochs(), resume=True, **EVERY)


def test_a_run_without_checkpoints_begins_at_the_start(tmp_path, undisturbed):
    train(tmp_path, epochs(), resume=True, **EVERY)
    assert_same_end(undisturbed, tmp_path, 'iter_18.pth')


class SendSignal(Hook):
    def __init__(self, iteration, number):
        self.iteration, self.number = iteration, number

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.iteration:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize(('at', 'batch'), [(8, 4), (7, 16), (6, 4), (6, 16), (17, 16), (3, 512)])
def test_a_signal_saves_after_the_iteration_and_asks_to_be_run_again(tmp_path, number, at, batch):
    """Four iterations make a step of 16 images; 6 is the last iteration of an epoch."""
    hooks = [dict(type='beit_mm.GlobalBatchSizeHook', global_batch_size=batch)]
    first, second = tmp_path / 'first', tmp_path / 'second'
    handlers = signal.getsignal(number)
    settings = dict(by_epoch=True, interval=1, max_keep_ckpts=1)
    train(first, epochs(), hooks, **settings)
    assert signal.getsignal(number) is handlers
    with pytest.raises(SystemExit) as stop:
        train(second, epochs(), [*hooks, SendSignal(at, number)], **settings)
    signal.signal(number, handlers)
    assert stop.value.code == REQUEUE == 85
    assert newest_whole(second, second).name == f'iter_{at}.pth'
    train(second, epochs(), hooks, resume=True, **settings)
    assert_same_end(first, second, 'epoch_3.pth')
    assert names(second) == ['epoch_3.pth']


def test_the_best_model_is_saved_whole_and_the_former_one_goes_after(tmp_path, undisturbed):
    settings = dict(by_epoch=True, interval=1, save_best='val/mean', rule='greater')
    runner = train(tmp_path, epochs(), **settings)
    scores = runner.message_hub.get_scalar('val/val/mean')._log_history.tolist()
    best = 1 + scores.index(max(scores))
    assert names(tmp_path, 'best_*') == [f'best_val_mean_epoch_{best}.pth']
    weights = read_checkpoint(tmp_path / f'best_val_mean_epoch_{best}.pth')['state_dict']
    whole = read_checkpoint(tmp_path / f'epoch_{best}.pth')['state_dict']
    assert all(torch.equal(weights[name], whole[name]) for name in whole)
    # A resumed run knows it: the file is replaced, not added to.
    train(tmp_path, dict(by_epoch=True, max_epochs=4), resume=True, **settings)
    assert len(names(tmp_path, 'best_*')) == 1


def test_a_run_that_branches_off_leaves_the_best_of_the_other_alone(tmp_path):
    settings = dict(by_epoch=True, interval=1, save_best='val/mean', rule='greater')
    first, second = tmp_path / 'first', tmp_path / 'second'
    runner = train(first, epochs(), **settings)
    scores = runner.message_hub.get_scalar('val/val/mean')._log_history.tolist()
    # As if all scores so far had been lower than those to come.
    saved = torch.load(first / 'epoch_3.pth', weights_only=False)
    saved['message_hub']['runtime_info']['best_score'] = min(scores) - 100
    torch.save(saved, first / 'epoch_3.pth')
    (best,) = names(first, 'best_*')
    longer = dict(by_epoch=True, max_epochs=5)
    train(second, longer, resume=True, load_from=str(first / 'epoch_3.pth'), **settings)
    assert names(first, 'best_*') == [best]
    assert len(names(second, 'best_*')) == 1
    # What was moved is still this run's own.
    moved = tmp_path / 'moved'
    shutil.move(second, moved)
    saved = torch.load(moved / 'epoch_5.pth', weights_only=False)
    saved['message_hub']['runtime_info']['best_score'] = min(scores) - 100
    torch.save(saved, moved / 'epoch_5.pth')
    train(moved, dict(by_epoch=True, max_epochs=6), resume=True, **settings)
    assert names(moved, 'best_*') == ['best_val_mean_epoch_6.pth']


class SpoilWeights(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == 6:
            runner.model.net[0].bias.data[3] = float('inf')


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    with pytest.raises(CheckpointError, match=r'iter_6\.pth.*net\.0\..*not finite'):
        train(tmp_path, epochs(), [SpoilWeights()], **EVERY)
    assert names(tmp_path) == ['iter_4.pth', 'iter_5.pth']


def test_another_number_of_images_an_iteration_is_refused(stopped):
    with pytest.raises(CheckpointError, match=r'had 4 images and would have 2 .*batch_size to 4'):
        train(stopped, epochs(), resume=True, batch_size=2, **EVERY)


@pytest.mark.parametrize('name', ['TORCHELASTIC_RESTART_COUNT', 'SLURM_RESTART_COUNT'])
def test_a_restart_is_known_by_the_launchers_variable(monkeypatch, name):
    for variable in ('TORCHELASTIC_RESTART_COUNT', 'SLURM_RESTART_COUNT'):
        monkeypatch.delenv(variable, raising=False)
    assert not restarted()
    monkeypatch.setenv(name, '0')
    assert not restarted()
    monkeypatch.setenv(name, '2')
    assert restarted()


@pytest.mark.parametrize('again', [False, True])
@pytest.mark.parametrize('saved', [False, True])
@pytest.mark.parametrize('resume', [None, 'auto', 'given.pth'])
def test_where_a_run_begins(tmp_path, monkeypatch, resume, saved, again):
    """The newest of the run itself, the one that was named, or the config's initial weights."""
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', str(int(again)))
    if saved:
        (tmp_path / 'last_checkpoint').write_text('iter_1.pth')
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'given.pth').touch()
    cfg = Config(dict(work_dir=str(tmp_path), load_from='initial.pth', resume=False))
    choose_start(cfg, resume)
    if saved and (again or resume == 'auto'):
        expected = True, None
    elif resume == 'given.pth':
        expected = True, 'given.pth'
    else:
        expected = False, 'initial.pth'
    assert (cfg.resume, cfg.load_from) == expected


def test_what_others_have_hidden_in_the_folder_stays(stopped):
    for name in ('.notes.partial', '.iter_9.pth.partial', '.last_checkpoint.partial'):
        (stopped / name).touch()
    train(stopped, epochs(), resume=True, **EVERY)
    assert names(stopped, '.*') == ['.notes.partial']
