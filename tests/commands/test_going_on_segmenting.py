"""A segmentor that is gone on with learns what it began to learn, by the same command."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from idle_segmenting import learn_nothing, write_images
from PIL import Image

from beit_mm.commands import segmenting
from beit_mm.commands.holding_out import hold_out
from beit_mm.commands.segmenting import segment
from beit_mm.component import ConfigError


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """Begin a run, or go on with it; it saves a checkpoint and learns nothing."""
    images = write_images(tmp_path / 'images')
    learn_nothing(monkeypatch)

    def begin(masks, where=tmp_path, **given):
        return segment(images, where / masks, 'none', tmp_path / 'run', **given)

    return begin


def test_masks_are_divided_as_they_were(begin, tmp_path):
    (tmp_path / 'masks').mkdir()
    # Too many numbers for classes, where nothing divides them.
    mask = np.arange(26_000, 26_000 + 48 * 64, dtype=np.uint16).reshape(48, 64)
    for index in range(6):
        Image.fromarray(mask).save(tmp_path / f'masks/{index}.png')
    begin('masks', divide_by=1000)
    begin('masks', divide_by=1000, resume=True)
    begin('masks', resume=True)
    with pytest.raises(ConfigError, match='--divide-by cannot be changed by --resume'):
        begin('masks', divide_by=500, resume=True)


def test_a_segmentor_is_of_the_best_checkpoint(begin, tmp_path, monkeypatch):
    (tmp_path / 'masks').mkdir()
    for index in range(6):
        Image.fromarray(np.eye(48, 64, dtype=np.uint8)).save(tmp_path / f'masks/{index}.png')
    written = []
    monkeypatch.setattr(segmenting, 'best_checkpoint', lambda folder: folder / 'best.pth')
    monkeypatch.setattr(segmenting, 'write_bare_weights', lambda *a: written.append(a))
    run = begin('masks')
    names = ('segment/best.pth', 'segmentor.pth', 'segment.py')
    assert written == [tuple(run / name for name in names)]


def write_annotations(path):
    corners = [8, 8, 40, 8, 40, 40, 8, 40]
    known = dict(
        images=[dict(id=i, file_name=f'{i}.png', height=48, width=64) for i in range(6)],
        annotations=[dict(id=i, image_id=i, category_id=1, segmentation=[corners])
                     for i in range(6)],
        categories=[dict(id=1, name='cat')],
    )  # fmt: skip
    path.write_text(json.dumps(known))


def test_what_is_held_out_and_broken_is_left_out(begin, tmp_path, capsys):
    (tmp_path / 'masks').mkdir()
    for index in range(12):
        pixels = np.random.default_rng(index).integers(0, 255, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f'images/{index}.jpg')
        (tmp_path / f'images/{index}.png').unlink(missing_ok=True)
        Image.fromarray(np.eye(48, 64, dtype=np.uint8)).save(tmp_path / f'masks/{index}.png')

    def cut(stem):
        path = tmp_path / f'images/{stem}.jpg'
        # Its head is whole.
        path.write_bytes(path.read_bytes()[:2000])

    stems = sorted(map(str, range(12)))
    held_out = list(hold_out(stems, 2)[1])
    cut(held_out[0])
    run = begin('masks')
    assert f'{held_out[0]}.jpg cannot be decoded' in capsys.readouterr().out
    assert (run / 'val.txt').read_text().split() == held_out[1:]
    # A run that knows of none broken yet.
    (run / 'val.txt').write_text('\n'.join(held_out) + '\n')
    begin('masks', resume=True)
    assert (run / 'val.txt').read_text().split() == held_out[1:]
    cut(held_out[1])
    with pytest.raises(ConfigError, match=r'of 1 images held out of .* none can be decoded'):
        begin('masks', resume=True)


def test_masks_are_those_of_the_same_annotations(begin, tmp_path, monkeypatch):
    for name in 'ab':
        write_annotations(tmp_path / f'{name}.json')
    monkeypatch.chdir(tmp_path)
    run = begin('a.json', where=Path())
    monkeypatch.chdir(tmp_path.parent)
    begin('a.json', resume=True)
    with pytest.raises(ConfigError, match=r'learns from .*a\.json, and .*b\.json is given'):
        begin('b.json', resume=True)
    (run / 'annotations.txt').unlink()
    begin('b.json', resume=True)


@pytest.mark.parametrize('others', ['', 'segment.py'])
def test_masks_that_are_of_no_run_stay(begin, tmp_path, monkeypatch, others):
    write_annotations(tmp_path / 'a.json')
    mine = tmp_path / 'run/masks/mine.png'
    mine.parent.mkdir(parents=True)
    mine.touch()
    if others:
        # Left by a start with masks in the place of annotations.
        (tmp_path / 'run' / others).write_text(f'train_list = {str(tmp_path / "run/train.txt")!r}')
    with pytest.raises(ConfigError, match='which holds masks of no beit-mm run'):
        begin('a.json')
    assert mine.is_file()
    shutil.rmtree(tmp_path / 'run')

    monkeypatch.setattr(segmenting, 'choose_length', lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        begin('a.json')
    assert not (tmp_path / 'run').exists()
    monkeypatch.setattr(segmenting, 'choose_length', lambda *a: 20)
    monkeypatch.setattr(segmenting.RunFolder, 'train', lambda *_: None)
    # What a run leaves that has saved nothing is drawn anew.
    for _ in range(2):
        begin('a.json')
        assert len(list((tmp_path / 'run/masks').iterdir())) == 6
