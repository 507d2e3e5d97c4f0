"""MMPretrain's and MMSegmentation's own recipes, as their users would give them to the tools."""

import importlib.util
from pathlib import Path

import pytest
from mmengine.config import Config

from beit_mm.engine import ConfigError, check_config
from beit_mm.engine.checking import config_check
from beit_mm.engine.checking.own_variables import unread_options, unread_variables

# Of what one has to install, or of what mmengine refuses too.
MEANT = ('which is not registered', 'val_cfg missing', 'train_cfg and optim_wrapper missing')


def recipes(package, folders):
    spec = importlib.util.find_spec(package)
    root = Path(spec.origin).parent / '.mim/configs' if spec else Path('/nowhere')
    return [path for folder in folders for path in sorted(root.glob(f'{folder}/*.py'))[:2]]


RECIPES = [
    *recipes('mmpretrain', [
        'vision_transformer', 'deit', 'beit', 'mae', 'simmim', 'mocov3', 'byol', 'swin_transformer',
        'resnet', 'convnext', 'twins', 'dinov2', 'lenet', 'barlowtwins', 'clip', 'arcface',
    ]),
    *recipes('mmseg', ['vit', 'beit', 'mae', 'upernet', 'segformer', 'setr', 'unet', 'point_rend']),
]  # fmt: skip


def test_they_are_there():
    """Packages without their recipes would leave nothing to try."""
    assert len(RECIPES) > 30


@pytest.mark.parametrize('path', RECIPES, ids=lambda path: path.stem)
def test_they_are_not_refused(path, monkeypatch):
    monkeypatch.setattr(config_check, 'check_data', lambda *args: iter(()))
    monkeypatch.setattr(config_check, 'check_pretrained', lambda *args: iter(()))
    cfg = Config.fromfile(path)
    assert list(unread_variables(cfg)) == []
    try:
        check_config(cfg, 'train')
    except ConfigError as error:
        said = [line for line in str(error).splitlines() if not any(m in line for m in MEANT)]
        assert said == []


def test_options_that_mmengine_reads_of_the_whole_config_are_known():
    cfg = Config(dict(model=dict(type='A')))
    options = ('compile', 'sync_bn', 'activation_checkpointing', 'efficient_conv_bn_eval')
    assert list(unread_options(cfg, dict.fromkeys(options, 'x'))) == []


def test_a_variable_that_somebody_elses_hook_may_read_is_a_note():
    cfg = Config(dict(model=dict(type='A'), my_table='a.csv'))
    (note,) = unread_options(cfg, {'my_table': 'b.csv'})
    assert isinstance(note, config_check.Note)
