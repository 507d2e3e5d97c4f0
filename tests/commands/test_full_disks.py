"""Where a disk is full a command names the file, and leaves what was there."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from full_disk import full_disk
from mmengine.config import ConfigDict

from beit_mm.commands import embedding, predicting
from beit_mm.commands.output_files import write_table

FILES = {Path(f'photos/{index}.png'): Path(f'{index}.png') for index in range(20)}


def answers(monkeypatch, **sample):
    """A model that says the same of each image."""
    monkeypatch.setattr(
        predicting, 'predict_files',
        lambda _, files, **__: ((file, SimpleNamespace(**sample)) for file in files),
    )  # fmt: skip


@pytest.mark.parametrize('several', [False, True])
def test_a_table_of_answers_is_whole_or_the_one_that_was_there(several, tmp_path, monkeypatch):
    answers(monkeypatch, pred_score=torch.tensor([0.9, 0.6]))
    out = tmp_path / 'classes.csv'
    out.write_text('mine\n')
    head = SimpleNamespace(thr=None)
    trained = SimpleNamespace(classes=['cat', 'dog'], model=SimpleNamespace(head=head))
    name = predicting._several if several else predicting._names
    given = (trained, FILES, out, *([None] if several else []))
    with full_disk(), pytest.raises(OSError, match=r"classes\.csv'$"):
        name(*given)
    assert out.read_text() == 'mine\n'
    assert [path.name for path in tmp_path.iterdir()] == ['classes.csv']
    name(*given)
    assert len(out.read_text().splitlines()) == 1 + len(FILES)


def test_masks_are_whole_or_not_there(tmp_path, monkeypatch):
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (1, 64, 64)))
    answers(monkeypatch, pred_sem_seg=SimpleNamespace(data=noise))
    dataset = dict(metainfo=dict(palette=[[0, 0, 0], [255, 0, 0]]))
    trained = SimpleNamespace(
        classes=['a', 'b'], cfg=ConfigDict(val_dataloader=dict(dataset=dataset))
    )
    masks = predicting._masks
    with full_disk(), pytest.raises(OSError, match=r"0\.png'$"):
        masks(trained, FILES, tmp_path / 'out', may_be_there=False, keep_scale=False)
    assert not list((tmp_path / 'out').iterdir())


def test_names_that_are_no_text_are_written_all_the_same(tmp_path):
    write_table(tmp_path / 'a.csv', [('path',), (Path('\udcff0.png'),), (Path('é, ☃.png'),)])
    text = (tmp_path / 'a.csv').read_bytes().decode()
    assert text == 'path\r\n\\udcff0.png\r\n"é, ☃.png"\r\n'


def test_vectors_are_begun_anew_behind_a_full_disk(tmp_path, monkeypatch):
    parts = tmp_path / '.v.npz.parts'
    with full_disk(10), pytest.raises(OSError, match=r"about\.json'$"):
        embedding._begin(parts, dict(weights='w.pth', size=32))
    embedding._begin(parts, dict(weights='w.pth', size=32))
    assert [path.name for path in parts.iterdir()] == ['about.json']
