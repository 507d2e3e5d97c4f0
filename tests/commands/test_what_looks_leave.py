"""What looks leave when names are odd, disks are full, or pictures and masks are broken."""

import os
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from mmengine.config import ConfigDict
from PIL import Image

from beit_mm.commands import look_segmentation
from beit_mm.commands.look_film import look_film
from beit_mm.commands.picture_files import picture_path, write_picture
from beit_mm.commands.trained import Trained
from beit_mm.component import ConfigError


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('name', [r'a$\frac$.jpg', 'a$_b$', 'bad\udcff.jpg', '\N{GRINNING FACE}'])
def test_names_are_no_formulas_and_may_be_no_text(tmp_path, name):
    figure = Figure(layout='constrained')
    axis = figure.add_subplot(title=name)
    axis.set_yticks([0], [name])
    axis.plot([1, 1e6], [0, 0], label=name)
    axis.set_xscale('log')
    axis.legend()
    write_picture(figure, tmp_path / 'a.png', dict(names=np.array([name])))
    assert axis.get_title() == axis.get_yticklabels()[0].get_text()
    assert all(label.get_parse_math() for label in axis.get_xticklabels())


@pytest.mark.parametrize('error', [OSError('no space'), KeyboardInterrupt()])
def test_a_picture_that_fails_leaves_nothing_and_what_was_there(tmp_path, error, monkeypatch):
    def fails(self, file, **_):
        file.write(b'half')
        raise error

    monkeypatch.setattr(Figure, 'savefig', fails)
    (tmp_path / 'a.npz').write_bytes(b'before')
    with pytest.raises(type(error)):
        write_picture(Figure(), tmp_path / 'a.png', dict(x=np.zeros(3)))
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [('a.npz', b'before')]


def test_a_folder_is_no_picture(tmp_path):
    (tmp_path / 'a.png').mkdir()
    with pytest.raises(ConfigError, match='is a folder'):
        picture_path(tmp_path / 'a.png', 'filters')


@pytest.mark.parametrize('ending', ['.gif', '.mp4'])
def test_a_film_leaves_out_broken_pictures(tmp_path, ending, capsys):
    folder = tmp_path / 'run' / '20260101_000000' / 'vis_data' / 'vis_image'
    folder.mkdir(parents=True)
    for number in range(4):
        Image.new('RGB', (320, 64), (60 * number, 0, 0)).save(folder / f'learning_{number}.png')
    whole = (folder / 'learning_2.png').read_bytes()
    (folder / 'learning_2.png').write_bytes(whole[: len(whole) // 2])
    (folder / 'learning_3.png').write_bytes(b'')
    look_film(tmp_path / 'run', tmp_path / f'film{ending}')
    told = capsys.readouterr()
    assert 'film' + ending + ', 2 pictures, from iteration 0 to 1' in told.out
    assert told.err.count('left out') == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [f'film{ending}', 'run']


def test_segmentation_draws_others_in_place_of_what_cannot_be_read(tmp_path, monkeypatch, capsys):
    files = [tmp_path / f'{number:02d}.png' for number in range(20)]
    for file in files:
        Image.new('RGB', (8, 8)).save(file)
    # Those at even distances, which would be drawn.
    broken = set(look_segmentation.spread(files, look_segmentation.SHOWN))

    def read(path):
        if path in broken:
            raise ValueError('it has colours')
        return np.zeros((8, 8), np.uint8)

    sample = SimpleNamespace(pred_sem_seg=SimpleNamespace(data=torch.zeros(1, 8, 8, dtype=int)))
    monkeypatch.setattr(look_segmentation, 'predict_files', lambda _, f: ((x, sample) for x in f))
    monkeypatch.setattr(look_segmentation, 'how_of', lambda _: None)
    monkeypatch.setattr(look_segmentation, 'picture_of', lambda *_: np.zeros((8, 8, 3), np.uint8))
    trained = Trained(ConfigDict(val_evaluator=None), None, ['a', 'b'], segments=True)
    truths = {file: look_segmentation.Truth(file, partial(read, file)) for file in files}
    drawn, counts, seen = look_segmentation._look(trained, files, truths)
    assert seen == 14
    assert counts.sum() == 14 * 64
    assert 5 <= len(drawn) <= 6
    assert not broken & {each.file for each in drawn}
    assert capsys.readouterr().err.count('its mask: ValueError: it has colours') == 6


@pytest.mark.skipif(os.name != 'posix', reason='signals')
def test_a_command_that_is_stopped_while_it_starts_says_so(tmp_path):
    code = (
        'import sys; from beit_mm.commands.main import main\n'
        'class Stopped:\n'
        '    def find_spec(self, name, path=None, target=None):\n'
        '        if name.endswith("starting.telling"): raise KeyboardInterrupt\n'
        'sys.meta_path.insert(0, Stopped())\n'
        f'main(["report", {str(tmp_path)!r}])'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 130
    assert done.stderr == '\nbeit-mm report: stopped\n'
