"""How a run read its images, by the config that its checkpoint carries."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from beit_mm.checkpoints import read_checkpoint
from beit_mm.checkpoints.run_settings import images_in, run_settings
from beit_mm.config_text import settings_in_text

CONFIGS = Path(__file__).parents[2] / 'configs'


def saved(path, text):
    torch.save(dict(state_dict={}, meta=dict(cfg=text)), path)
    return images_in(run_settings(read_checkpoint(path)))


@pytest.mark.parametrize(
    ('config', 'size'),
    [
        ('quickstart/dvae.py', 16),
        ('own/dvae.py', 32),
        ('dvae_small_train.py', 128),
        ('own/pretrain.py', 32),
    ],
)
def test_the_size_of_what_a_tokenizer_saw_is_found_in_the_recipes(config, size, tmp_path):
    text = Config.fromfile(CONFIGS / config).pretty_text
    assert saved(tmp_path / 'a.pth', text) == (size, {})


def test_bands_and_ranges_are_found_in_a_data_set_that_another_wraps(tmp_path):
    cfg = Config.fromfile(CONFIGS / 'own/dvae.py')
    cfg.val_dataloader.dataset.pipeline[0].update(bands=4, value_range=dict(uint16=[0, 4095]))
    cfg.val_dataloader.dataset = dict(type='Wrapping', dataset=cfg.val_dataloader.dataset)
    found = saved(tmp_path / 'a.pth', cfg.pretty_text)
    assert found == (32, dict(bands=4, value_range=dict(uint16=[0, 4095])))


def test_nothing_of_the_text_is_run(tmp_path):
    ran = tmp_path / 'ran'
    text = f"x = __import__('pathlib').Path({str(ran)!r}).touch()\ny = dict(z=[open({str(ran)!r})])"
    found = settings_in_text(text + '\nw = dict(v=(1, [2]))')
    assert not ran.exists()
    assert found['w'] == {'v': (1, [2])}
    assert found['y'] == {'z': [f'open({str(ran)!r})']}


@pytest.mark.parametrize(
    'text', ['', 'no python at all', 'val_dataloader = dict(dataset=3)', 'a\0b', None]
)
def test_of_others_nothing_is_known(text, tmp_path):
    assert saved(tmp_path / 'a.pth', text) == (None, {})
