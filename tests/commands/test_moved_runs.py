"""Folders of runs that were renamed or copied: test, look and --resume take what lies in them."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from idle_segmenting import learn_nothing, write_images
from mmengine.config import Config

from beit_mm.commands import segmenting
from beit_mm.commands.filling import fill_recipe
from beit_mm.commands.look_segmentation import _held_out
from beit_mm.commands.moved_runs import config_of_run
from beit_mm.commands.run_folder import RunFolder, best_checkpoint
from beit_mm.engine.running.whole_checkpoints import newest_whole


def begun(folder, recipe='own/finetune.py', name='finetune.py', lists=None, **values):
    """A run that has saved."""
    run, lists = RunFolder(folder, name), Path(lists or folder)
    run.path.mkdir(parents=True)
    lists = {f'{side}_list': str(lists / f'{side}.txt') for side in ('train', 'val')}
    run.write(name, fill_recipe(recipe, {**lists, **values}, 'A test.'))
    for side in ('train', 'val'):
        run.write(f'{side}.txt', f'cat/{side}.png 0\n')
    (run.path / 'finetune').mkdir()
    (run.path / 'finetune/last_checkpoint').write_text(f'{run.path}/finetune/iter_9.pth')
    return run


def lists_of(path):
    cfg = Config.fromfile(path)
    loaders = (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader)
    return [cfg.train_list, cfg.val_list, *(each.dataset.ann_file for each in loaders)]


@pytest.mark.parametrize('change', [shutil.move, shutil.copytree])
def test_a_run_goes_on_with_the_lists_of_its_folder(tmp_path, change, capsys):
    begun(tmp_path / 'first')
    change(tmp_path / 'first', tmp_path / 'then é #1')
    run = RunFolder(tmp_path / 'then é #1', 'finetune.py')
    now = [str(run.path / f'{side}.txt') for side in ('train', 'val', 'train', 'val', 'val')]
    # Test and look write nothing.
    cfg = config_of_run(run.marker)
    assert [cfg.test_dataloader.dataset.ann_file, cfg.train_list] == [now[-1], now[0]]
    assert lists_of(run.marker) != now
    assert run.begin(resume=True)
    assert lists_of(run.marker) == now
    assert 'its folder was moved' in capsys.readouterr().out
    text = run.marker.read_text()
    RunFolder(run.path, 'finetune.py').begin(resume=True)
    assert run.marker.read_text() == text
    assert not capsys.readouterr().out


def test_what_lies_elsewhere_stays_as_it_is(tmp_path):
    weights = dict(type='Pretrained', checkpoint=str(tmp_path / 'first_one/pretrained.pth'))
    run = begun(tmp_path / 'first', weights=weights, data_root=str(tmp_path / 'photos'))
    assert config_of_run(run.marker).pretty_text == Config.fromfile(run.marker).pretty_text
    shutil.move(run.path, tmp_path / 'then')
    cfg = config_of_run(tmp_path / 'then/finetune.py')
    assert cfg.model.backbone.init_cfg == weights
    assert cfg.train_dataloader.dataset.data_root == str(tmp_path / 'photos')
    # Lists of one's own, of a config that was written by hand.
    begun(tmp_path / 'by_hand', lists=tmp_path / 'lists')
    for side in ('train', 'val'):
        (tmp_path / 'by_hand' / f'{side}.txt').unlink()
    assert lists_of(tmp_path / 'by_hand/finetune.py')[0] == str(tmp_path / 'lists/train.txt')


def test_trainings_of_a_sweep_share_the_lists_of_its_folder(tmp_path):
    begun(tmp_path / 'first', name='sweep.py')
    begun(tmp_path / 'first/rate_0.01', lists=tmp_path / 'first')
    for side in ('train', 'val'):
        (tmp_path / f'first/rate_0.01/{side}.txt').unlink()
    shutil.move(tmp_path / 'first', tmp_path / 'then')
    RunFolder(tmp_path / 'then', 'sweep.py').begin(resume=True)
    for path in ('sweep.py', 'rate_0.01/finetune.py'):
        assert set(lists_of(tmp_path / 'then' / path)) == {
            str(tmp_path / f'then/{side}.txt') for side in ('train', 'val')
        }


def test_a_run_of_its_own_may_be_called_as_those_of_a_sweep(tmp_path):
    """Wherever it lies: beside another's lists they are still not its own."""
    begun(tmp_path / 'first')
    run = begun(tmp_path / 'first/rate_0.01')
    text = run.marker.read_text()
    assert config_of_run(run.marker).train_list == str(run.path / 'train.txt')
    run.begin(resume=True)
    assert run.marker.read_text() == text
    shutil.move(run.path, tmp_path / 'rate_high')
    cfg = config_of_run(tmp_path / 'rate_high/finetune.py')
    assert cfg.train_list == str(tmp_path / 'rate_high/train.txt')


def test_masks_of_annotations_and_what_was_learned_from_move_too(tmp_path, monkeypatch):
    images = write_images(tmp_path / 'images')
    corners = [8, 8, 40, 8, 40, 40, 8, 40]
    known = dict(
        images=[dict(id=i, file_name=f'{i}.png', height=48, width=64) for i in range(6)],
        annotations=[dict(id=i, image_id=i, category_id=1, segmentation=[corners])
                     for i in range(6)],
        categories=[dict(id=1, name='cat')],
    )  # fmt: skip
    (tmp_path / 'known.json').write_text(json.dumps(known))

    learn_nothing(monkeypatch)
    given = images, tmp_path / 'known.json', 'none'
    segmenting.segment(*given, tmp_path / 'first')
    shutil.move(tmp_path / 'first', tmp_path / 'then')
    cfg = config_of_run(tmp_path / 'then/segment.py')
    assert cfg.mask_root == str(tmp_path / 'then/masks')
    # Of six one is held out.
    trained = SimpleNamespace(cfg=cfg)
    assert len(_held_out(trained, sorted(images.iterdir()))) == 1
    segmenting.segment(*given, tmp_path / 'then', resume=True)
    cfg = Config.fromfile(tmp_path / 'then/segment.py')
    assert cfg.mask_root == str(tmp_path / 'then/masks')
    assert str(tmp_path / 'first') not in cfg.pretty_text


def test_a_copy_has_checkpoints_of_its_own(tmp_path):
    for name, weight in (('first', 1.0), ('then', 2.0)):
        (tmp_path / name).mkdir()
        torch.save(
            dict(state_dict=dict(weight=torch.tensor(weight))), tmp_path / name / 'iter_9.pth'
        )
        (tmp_path / name / 'last_checkpoint').write_text(f'{tmp_path}/first/iter_9.pth\n')
    then = tmp_path / 'then'
    assert newest_whole(then, then) == best_checkpoint(then) == then / 'iter_9.pth'
    shutil.rmtree(tmp_path / 'first')
    assert newest_whole(then, then) == best_checkpoint(then) == then / 'iter_9.pth'
