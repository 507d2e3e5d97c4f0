"""``beit-mm check`` says what is in a folder, and its lines make a config that reads it."""

import ast

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from beit_mm.commands.checking_photos import check
from beit_mm.component import ConfigError
from beit_mm.datasets.reading.choosing import Reading

RNG = np.random.default_rng(0)


def lines_of_config(told):
    """The settings that were proposed, as a config reads them."""
    lines = told.partition('for a config')[2].splitlines()[1:6]
    return {name: ast.literal_eval(value) for name, value in
            (line.strip().split(' = ', 1) for line in lines)}  # fmt: skip


@pytest.fixture
def scans(tmp_path):
    for index in range(8):
        pixels = RNG.normal(1500, 300, (40, 50 + index)).clip(0, 4095).astype(np.uint16)
        Image.fromarray(pixels).save(tmp_path / f'{index}.png')
    return tmp_path


def test_deep_scans(scans, capsys):
    (scans / 'copy.png').write_bytes((scans / '3.png').read_bytes())
    (scans / 'broken.png').write_bytes(b'nothing')
    found = check(scans, scans / 'broken.txt', workers=1)
    told = capsys.readouterr().out
    assert found.alike == [['3.png', 'copy.png']]
    assert list(found.broken) == ['broken.png']
    assert (scans / 'broken.txt').read_text().startswith('broken.png\tcannot identify')
    for said in (
        '8 kinds, from 40 x 50 to 40 x 57',
        'uint16: 9 images',
        '1 (grey): 9 images',
        '1 images have the pixels of another: 3.png = copy.png',
    ):
        assert said in told
    proposed = lines_of_config(told)
    assert (proposed['bands'], proposed['in_channels']) == (1, 1)
    # What the lines say is true of the pixels, read as they say.
    reading = Reading(proposed['bands'], proposed['value_range'])
    every = [reading.open(path).read().ravel() for path in sorted(scans.glob('[0-9c]*.png'))]
    pixels = np.concatenate(every)
    assert abs(pixels.mean() - proposed['mean'][0]) < 1
    assert abs(pixels.std() - proposed['std'][0]) < 1
    assert (pixels == 0).mean() < 0.01
    assert (pixels == 255).mean() < 0.01


@pytest.mark.parametrize(('name', 'said'), [('', 'a folder'), ('no/l.txt', 'there is no folder')])
def test_a_list_that_cannot_be_written_is_told_first(scans, monkeypatch, name, said):
    monkeypatch.setattr('beit_mm.commands.checking_photos.check_photos', None)
    with pytest.raises(ConfigError, match=f'the list is .*{said}'):
        check(scans, scans / name)


@pytest.mark.parametrize('mode', ['RGB', 'L', 'RGBA'])
def test_photos_of_8_bits_need_no_settings(tmp_path, mode, capsys):
    bands = len(mode) if mode != 'L' else 1
    for index in range(4):
        pixels = RNG.integers(0, 256, (20, 20, bands), dtype=np.uint8).squeeze()
        Image.fromarray(pixels, mode).save(tmp_path / f'{index}.png')
    proposal = check(tmp_path, workers=1).proposal
    assert proposal.is_plain
    proposed = lines_of_config(capsys.readouterr().out)
    assert (proposed['bands'], proposed['value_range']) == (None, None)
    assert len(proposed['mean']) == proposed['in_channels'] == 3


def test_values_that_are_none_are_counted(tmp_path, capsys):
    pixels = RNG.random((20, 20)).astype(np.float32)
    pixels[:2] = -1
    pixels[2] = np.nan
    Image.fromarray(pixels).save(tmp_path / 'a.tif')
    proposal = check(tmp_path, workers=1, no_data=-1).proposal
    assert 'no value    60 pixels of 1 images' in capsys.readouterr().out
    assert 0 <= proposal.value_range['float32'][0][0] < 0.1


def test_nothing_that_can_be_read(tmp_path, capsys):
    (tmp_path / 'a.png').write_bytes(b'')
    found = check(tmp_path, workers=1)
    assert found.proposal is None
    assert capsys.readouterr().out == 'a.png\tthe file is empty\n'


def test_the_lines_are_a_config(scans, tmp_path, capsys):
    check(scans, workers=1)
    text = '\n'.join(
        line.strip()
        for line in capsys.readouterr().out.partition('for a config')[2].splitlines()[1:]
    )
    cfg = Config.fromstring(text, '.py')
    assert Reading(cfg.bands, cfg.value_range.to_dict()).num_bands == cfg.in_channels
