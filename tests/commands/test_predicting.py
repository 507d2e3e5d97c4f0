"""Which images ``beit-mm predict`` and ``look`` take, and what their masks are called."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import ConfigDict
from PIL import Image

from beit_mm.commands import predicting
from beit_mm.commands.predicting import files_of
from beit_mm.component import ConfigError


def test_a_tilde_is_the_home_or_the_beginning_of_a_name(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'home').mkdir()
    for path in ('home/a.png', '~1.png', '~$b.png'):
        Image.new('RGB', (8, 8)).save(tmp_path / path)
    assert [*files_of(['~/a.png', '~1.png', '~$b.png'])] == [
        tmp_path / 'home/a.png', Path('~1.png'), Path('~$b.png')
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"~2\.png: there is no such file; did you mean '~1"):
        files_of(['~2.png'])


def test_masks_have_the_names_of_images_however_long_these_are(tmp_path, monkeypatch):
    """The coloured one's is 8 longer, of the 255 bytes that a system takes."""
    names = ['é' * 80 + '0' * 80 + '.jpg', '☃' * 80 + '.jpg']
    sample = SimpleNamespace(pred_sem_seg=SimpleNamespace(data=torch.zeros(1, 4, 4).long()))
    monkeypatch.setattr(
        predicting, 'predict_files', lambda _, files, **__: ((file, sample) for file in files)
    )
    dataset = dict(metainfo=dict(palette=[[9, 9, 9]]))
    trained = SimpleNamespace(classes=['a'], cfg=ConfigDict(val_dataloader=dict(dataset=dataset)))
    files = {tmp_path / name: Path(name) for name in names}
    predicting._masks(trained, files, tmp_path / 'out', may_be_there=False, keep_scale=False)
    stems = sorted(path.stem for path in (tmp_path / 'out').iterdir())
    assert stems == sorted(f'{Path(n).stem}{end}' for n in names for end in ('', '_colours'))
