"""Which images are meant by what is behind ``beit-mm predict`` and ``look``."""

from pathlib import Path

import pytest
from PIL import Image

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
