"""What a command's folder hands to its stages, and which weights it takes from them."""

import os
from types import SimpleNamespace

import pytest

from beit_mm.commands import classifier_runs, run_folder
from beit_mm.commands.choices import Machine
from beit_mm.commands.filling import fill_recipe
from beit_mm.commands.run_folder import RunFolder, best_checkpoint
from beit_mm.engine.starting.stages import Progress, Stage

TWO_CORES, TWO_GPUS = Machine(0, 2, 0), Machine(2, 8, 80 * 2**30)


@pytest.mark.parametrize(
    ('machine', 'track', 'saved', 'arguments'),
    [
        (TWO_GPUS, 'tensorboard', False, ['--amp', '--track', 'tensorboard']),
        (TWO_GPUS, None, True, ['--amp', '--resume']),
        (TWO_CORES, 'wandb', True, ['--resume', '--track', 'wandb']),
        (TWO_CORES, None, False, []),
    ],
)
def test_a_stage_is_told_of_gpus_trackers_and_what_it_goes_on_with(
    tmp_path, monkeypatch, machine, track, saved, arguments
):
    seen = []
    monkeypatch.setattr(run_folder, 'run_stage', lambda *a: seen.append(a) or tmp_path / 'last.pth')
    run = RunFolder(tmp_path, 'pretrain.py')
    run.write('pretrain.py', fill_recipe('own/mae.py', {}, 'A test.'))
    (tmp_path / 'pretrain').mkdir()
    if saved:
        (tmp_path / 'pretrain/last_checkpoint').touch()
    stage = Stage('Pre-train', tmp_path / 'pretrain.py', 1.0)
    assert run.train(stage, Progress([stage]), track, machine) == tmp_path / 'last.pth'
    ((given, tool, work_dir, options, _, environment, *rest),) = seen
    assert (given, tool.name, work_dir, options) == (stage, 'train.py', tmp_path / 'pretrain', {})
    assert rest == [arguments, max(1, machine.gpus)]
    # One of the two cores loads images.
    assert environment == ({} if machine.gpus else {'OMP_NUM_THREADS': '1'})


def test_the_best_checkpoint_is_handed_on_and_without_one_the_last(tmp_path):
    (tmp_path / 'last_checkpoint').write_text(f'{tmp_path}/iter_9.pth\n')
    assert best_checkpoint(tmp_path) == tmp_path / 'iter_9.pth'
    # One that a run before left, and that of this one, which has fewer iterations.
    for number, name in enumerate(('best_top1_iter_7.pth', 'best_top1_iter_3.pth', 'iter_9.pth')):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (number, number))
    assert best_checkpoint(tmp_path) == tmp_path / 'best_top1_iter_3.pth'


def test_a_classifier_is_of_the_best_checkpoint(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(classifier_runs, 'best_checkpoint', lambda folder: folder / 'best.pth')
    monkeypatch.setattr(classifier_runs, 'write_bare_weights', lambda *a: written.append(a))
    monkeypatch.setattr(classifier_runs, '_look_back', lambda *_: 'told')
    run = RunFolder(tmp_path, 'finetune.py')
    photos = SimpleNamespace(several=None)
    assert classifier_runs.finish_run(run, photos, 0.0) == 'told'
    names = ('finetune/best.pth', 'classifier.pth', 'finetune.py')
    assert written == [tuple(tmp_path / name for name in names)]
