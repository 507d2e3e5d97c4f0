"""Every shipped config with one thing changed: it is refused in a line, or the change takes effect.

Names are misspelt, numbers become text, are doubled or halved, settings are dropped.

500 drawn cases; `BEIT_MM_MISTAKES=5000` draws more.
"""

import copy
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from mmpretrain.registry import TRANSFORMS

from beit_mm.engine import ConfigError, check_config
from beit_mm.engine.checking import config_check
from beit_mm.engine.checking.names_check import RUNNER_TAKES

ROOT = Path(__file__).parent.parent.parent
NAMES = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in str(path)
)
UNBUILT = ('work_dir', 'launcher', 'experiment_name', 'default_scope', 'cfg')
# Below these, names are the config's own or are read by whoever is built, which then says so.
FREE = (
    'metainfo', 'hparams', 'custom_keys', 'init_cfg', 'norm_cfg', 'data_prefix', 'arch',
    'data_preprocessor', 'mp_cfg', 'dist_cfg',
)  # fmt: skip
# Whose constructors are known word for word.
OURS = (
    'beit_mm.',
    'torchvision/',
    'AdamW',
    'LinearLR',
    'CosineAnnealingLR',
    'PolyLR',
    'IterBasedTrainLoop',
)


class Configs(dict):
    """Of which hypothesis prints no more than this."""

    def __repr__(self):
        return f'{len(self)} configs'


@pytest.fixture(scope='module')
def configs():
    """Every config, as if its data and weights were there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config_check, 'check_data', lambda *args: iter(()))
        patch.setattr(config_check, 'check_pretrained', lambda *args: iter(()))
        found = Configs({name: Config.fromfile(ROOT / name) for name in NAMES})
        for cfg in found.values():
            generator = cfg.model.get('target_generator')
            if generator and 'checkpoint' in generator:
                cfg.load_from, generator.checkpoint = 'somewhere', None
            check_config(cfg, 'train')
        yield found


def settings_of(value, path=()):
    """Every (path, value) below a config."""
    items = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for name, child in items:
        yield (*path, name), child
        yield from settings_of(child, (*path, name))


def parent_of(value, path):
    for name in path[:-1]:
        value = value[name]
    return value


def misspelt(name, place, how):
    """A letter left out, doubled, or changed places with the next."""
    place = 1 + place % (len(name) - 2)
    if how == 'drop':
        return name[:place] + name[place + 1 :]
    if how == 'double':
        return name[:place] + name[place] + name[place:]
    return name[:place] + name[place + 1] + name[place] + name[place + 2 :]


def told(cfg):
    try:
        check_config(cfg, 'train')
    except ConfigError as error:
        lines = str(error).splitlines()
        assert lines
        return lines
    return None


@settings(
    max_examples=int(os.environ.get('BEIT_MM_MISTAKES', '500')),
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_one_thing_changed(configs, data):
    cfg = copy.deepcopy(configs[data.draw(st.sampled_from(NAMES))])
    every = [
        (path, value)
        for path, value in settings_of(cfg.to_dict())
        if path[0] in RUNNER_TAKES and path[0] not in UNBUILT and isinstance(path[-1], str)
    ]
    how = data.draw(st.sampled_from(['misspell', 'misspell', 'retype', 'drop', 'double', 'halve']))
    if how == 'misspell':
        every = [(p, v) for p, v in every if len(p[-1]) > 4 and p[-1] != 'type']
    elif how != 'drop':
        every = [(p, v) for p, v in every if isinstance(v, (int, float))]
    path, value = data.draw(st.sampled_from(every))
    around = parent_of(cfg._cfg_dict, path)
    kind = str(around.get('type', '')) if isinstance(around, dict) else ''
    if how == 'misspell':
        spelling = data.draw(st.sampled_from(['drop', 'double', 'swap']))
        name = misspelt(path[-1], data.draw(st.integers(0, 30)), spelling)
        if name == path[-1]:
            return
        around[name] = around.pop(path[-1])
    else:
        name = path[-1]
        around.pop(name)
        if how != 'drop':
            changes = dict(retype='large', double=value * 2, halve=type(value)(value / 2))
            around[name] = changes[how]
    lines = told(cfg)
    if how in ('drop', 'double', 'halve'):
        # Another number or a default is what was asked for; what cannot be so is told.
        assert lines is None or all(len(line) < 700 for line in lines)
        # These two have a default type.
        free = 'data_preprocessor' in path or path == ('optim_wrapper', 'type')
        if how == 'drop' and name == 'type' and kind.startswith(OURS) and not free:
            assert lines, path
        return
    if lines is None and how == 'retype' and kind.startswith('torchvision/'):
        # They do not say what kinds they take; building one does, before the first iteration.
        with pytest.raises((TypeError, ValueError)):
            TRANSFORMS.build(around)
    elif lines is None:
        own_hook = path[0] == 'default_hooks' and len(path) == 2
        # MMSegmentation's heads do not say what kinds they take; building one does.
        unsaid = how == 'retype' and path[:2] == ('model', 'decode_head')
        free = own_hook or unsaid or any(part in FREE for part in path)
        assert free or not kind.startswith(OURS), f'{path} {how} to {around.get(name)!r}: silent'
    else:
        told_of = [line for line in lines if name in line or path[-1] in line]
        assert told_of, (path, lines)
        assert len(told_of[0]) < 500


@pytest.mark.parametrize('name', NAMES)
def test_every_config_is_fine_as_it_is(configs, name):
    assert told(copy.deepcopy(configs[name])) is None
