"""docs/faq.md tells messages as they are: its commands are run and compared."""

import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from beit_mm.commands.main import main

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / 'docs/faq.md').read_text()
# Question, command, message.
ENTRIES = re.findall(r'^## (.*)\n\n```console\n\$ (.*)\n((?:.+\n)+)```\n', PAGE, re.MULTILINE)


def paint(path: Path, mode: str = 'RGB') -> None:
    """A small image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (40, 48, 3) if mode == 'RGB' else (40, 48)
    Image.fromarray(
        np.arange(np.prod(shape), dtype=np.uint32).astype(np.uint8).reshape(shape)
    ).save(path)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A reader's folder, with what the mistakes are made with."""
    monkeypatch.chdir(tmp_path)
    for name in ('configs', 'tools'):
        (tmp_path / name).symlink_to(ROOT / name)
    for index in range(12):
        paint(Path(f'photos/{index}.jpg'))
        paint(Path(f'images/{index}.jpg'))
        paint(Path(f'masks/{index}_mask.png'), 'L')
        paint(Path(f'colour_masks/{index}.png'))
        for name in ('cat', 'dog'):
            paint(Path(f'classes/{name}/{index}.jpg'))
    paint(Path('phone/1.jpg'))
    Path('phone/1.mov').write_bytes(bytes(100))
    for name in ('cat/1', 'dog/1', 'dog/2'):
        paint(Path(f'few/{name}.jpg'))
    Path('columns.csv').write_text('name,kind\n1.jpg,cat\n')
    paint(Path('scans/photos/1.jpg'))
    Path('scans/names.csv').write_text('path,label\nphotos/1.jpg,cat\nphoto/2.jpg,dog\n')
    for run, config in (('photos_pretrain', 'pretrain'), ('stopped_finetune', 'finetune')):
        path = Path('work_dirs', run, f'{config}.py')
        path.parent.mkdir(parents=True)
        shutil.copy(ROOT / f'configs/own/{config}.py', path)
    torch.save({}, 'work_dirs/photos_pretrain/pretrained.pth')
    torch.save({'model': torch.nn.Linear(2, 2)}, 'module.pth')
    return tmp_path


def test_every_question_is_tried():
    assert len(ENTRIES) == PAGE.count('\n## ')
    assert len(ENTRIES) >= 15


@pytest.mark.parametrize(('command', 'message'), [entry[1:] for entry in ENTRIES],
                         ids=[entry[0] for entry in ENTRIES])  # fmt: skip
def test_the_message_is_the_one_that_is_said(command, message, folder, capsys, monkeypatch):
    words = shlex.split(command)
    monkeypatch.setattr(sys, 'argv', words[1:])
    with pytest.raises(SystemExit) as stopped:
        main(words[1:]) if words[0] == 'beit-mm' else runpy.run_path(words[1], run_name='__main__')
    assert stopped.value.code == 2
    said = capsys.readouterr().err.replace(f'{folder}/', '').splitlines(keepends=True)
    # What a folder holds is told before, in a line each.
    said = [line for line in said if not re.match(r'\w+: \d+ images?', line)]
    # Behind it comes where the help is.
    said = [line for line in said if not line.endswith('--help shows what there is\n')]
    assert without_times(''.join(said)) == without_times(message)


def without_times(text: str) -> str:
    """Minutes and seconds, which are the machine's, left open."""
    return re.sub(r'\d+:\d\d', '0:00', text)
