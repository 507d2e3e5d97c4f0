"""README and guides: they are short, their links lead somewhere, and what they show works."""

import ast
import doctest
import fnmatch
import functools
import importlib
import re
import runpy
import shlex
import sys
import textwrap
from importlib.metadata import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import CheckpointLoader
from mmengine.utils import digit_version
from PIL import Image

import beit_mm.datasets  # so that no example is the first to register its parts
from beit_mm.commands.main import COMMANDS, build_parser
from beit_mm.commands.telling_machine import EXTRAS
from beit_mm.exporting.formats import MIN_TORCH
from beit_mm.models.sizes import ARCHS
from beit_mm.registry import TRANSFORMS

ROOT = Path(__file__).parent.parent
GUIDES = sorted((ROOT / 'docs').rglob('*.md'))
RECIPES = sorted((ROOT / 'configs').rglob('*.py'))
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', ROOT / 'configs/README.md', *GUIDES]
# Launchers, and the tool that each starts with the arguments behind its own.
LAUNCHERS = {
    'tools/dist_train.sh': ('tools/train.py', slice(1, 2)),
    'tools/dist_test.sh': ('tools/test.py', slice(2, 3)),
}


def blocks(language: str) -> list:
    """(page, text) of the code blocks in a language."""
    found = []
    for page in PAGES:
        for text in re.findall(rf'```{language}\n(.*?)```', page.read_text(), re.DOTALL):
            text = textwrap.dedent(text)
            name = f'{page.relative_to(ROOT)}:{text.strip().splitlines()[0][:40]}'
            found.append(pytest.param(text, id=name))
    return found


def test_pages_are_short():
    # Those of the claims are made of results, a paragraph a row.
    written = [page for page in PAGES if page.parent.name != 'claims']
    length = {page: len(page.read_text().splitlines()) for page in written}
    assert length[ROOT / 'README.md'] <= 140
    assert max(length.values()) < 200


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for target in re.findall(r'\]\((?!https?://)([^)#]+)', page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize('text', blocks('bash'))
def test_commands_are_understood(text, monkeypatch):
    """Every tool is there and takes the arguments, every config is there and has the settings."""
    lines = text.replace('\\\n', ' ').splitlines()
    for line in lines:
        words = [word for word in shlex.split(line, comments=True) if word != '...']
        while words and re.fullmatch(r'[A-Z_]+=\S*', words[0]):
            words = words[1:]
        if words and words[0] == 'beit-mm':
            check_own_command(words[1:])
        script = next((w for w in words if re.match(r'(tools|benchmarks)/\S+\.(py|sh)$', w)), None)
        if script is None:
            continue
        assert (ROOT / script).is_file(), script
        arguments = words[words.index(script) + 1 :]
        if script in LAUNCHERS:
            script, processes = LAUNCHERS[script]
            del arguments[processes]
        check_settings(arguments)
        if script.endswith('.py') and script.startswith('tools/'):
            monkeypatch.setattr(sys, 'argv', [script, *map(stand_in, arguments)])
            tool = runpy.run_path(str(ROOT / script))
            if 'parse_args' in tool:
                tool['parse_args']()


def check_own_command(words: list[str]) -> None:
    """A command of ``beit-mm`` takes its arguments, and its recipe has the settings."""
    if '>' in words:
        words = words[: words.index('>')]
    parsed = build_parser().parse_args([word for word in words if word != '|'])
    if getattr(parsed, 'cfg_options', None) and parsed.command != 'test':
        recipe = parsed.command
        if recipe == 'pretrain' and parsed.tokenizer is None and parsed.method != 'beit':
            recipe = 'mae'
        check_settings([f'configs/own/{recipe}.py', *words])


def stand_in(word: str) -> str:
    """A word of a command with what a reader fills in filled in."""
    return str(ROOT / 'configs/beit_pretrain.py') if word == 'CONFIG' else word


def check_settings(arguments: list[str]) -> None:
    """A config that is named is there, and has the settings that a command changes."""
    configs = [word for word in arguments if re.match(r'configs/.*\.py$', word)]
    if not configs:
        return
    cfg = Config.fromfile(ROOT / configs[0])
    for key in (word.partition('=')[0] for word in arguments if re.match(r'[a-z_.0-9]+=', word)):
        value = cfg
        for part in key.split('.')[:-1]:
            value = value[int(part) if part.isdigit() else part]
        last = key.rpartition('.')[2]
        assert last in value or setting_of(value, last), f'{configs[0]} has no {key}'


def setting_of(component: dict, name: str) -> bool:
    """Whether a component that states no such setting takes it all the same."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        kind = MODELS.get(component['type'])
    inits = (vars(each).get('__init__') for each in kind.__mro__)
    return any(name in init.__code__.co_varnames for init in inits if hasattr(init, '__code__'))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """What the examples read: weights, photos and configs, the networks narrow inside."""
    root = tmp_path_factory.mktemp('docs')
    (root / 'configs').symlink_to(ROOT / 'configs')
    noise = np.random.default_rng(0).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(root / 'photo.jpg')
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHS, 'base', {**ARCHS['base'], 'feedforward_channels': 8})
        for name, config, part in (
            ('pretrain/epoch_800.pth', 'beit_pretrain', 'backbone'),
            ('mae_pretrain/epoch_800.pth', 'mae_pretrain', None),
            ('beit_finetune_imagenet/epoch_100.pth', 'beit_finetune_imagenet', None),
            ('beit_segment_ade20k/iter_160000.pth', 'beit_segment_ade20k', None),
        ):
            path = root / 'work_dirs' / name
            path.parent.mkdir(parents=True)
            torch.save(dict(state_dict=weights_of(config, part), meta={}), path)
        yield root


def weights_of(config: str, part: str | None) -> dict:
    """Random weights of a recipe's model, or of a part of it."""
    cfg = Config.fromfile(ROOT / f'configs/{config}.py')
    cfg.model.backbone.pop('init_cfg', None)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model if part is None else cfg.model[part])
    return model.state_dict()


@pytest.mark.parametrize('text', blocks('python'))
def test_examples_run(text, folder, monkeypatch):
    if 'beit_mm.exporting' in text:
        pytest.importorskip('onnxscript')
        if digit_version(torch.__version__) < digit_version(MIN_TORCH):
            pytest.skip(f'takes PyTorch {MIN_TORCH}')
    monkeypatch.chdir(folder)
    # One of them changes how mmengine reads checkpoints from there on.
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    # One adds a component.
    monkeypatch.setattr(TRANSFORMS, '_module_dict', dict(TRANSFORMS.module_dict))
    names = {'__name__': 'example'}
    exec(compile(ast.parse(text), 'example', 'exec'), names)
    if 'backbone' in names and 'features' in names:
        assert [tuple(f.shape) for f in names['features']] == [(1, 768, 14, 14)] * 4
    if 'pictures' in names:
        assert names['tokens'].shape == (2, 14, 14)
        assert names['pictures'].shape == (2, 3, 112, 112)
    if 'RowMaskGenerator' in names:
        mask = names['RowMaskGenerator']((6, 8), num_rows=2).transform({})['mask']
        assert mask.sum() == 16
    if 'logits' in names:
        assert names['logits'].shape == (1, 1000)
    if 'labels' in names:
        assert names['labels'].shape == (64, 80)


ROOMS = [page for page in GUIDES if page.parent.name == 'api' and page.stem != 'functions']


@pytest.mark.parametrize('page', ROOMS, ids=lambda page: page.stem)
def test_every_public_name_of_a_room_is_on_its_page(page):
    name = f'beit_mm.{page.stem}'
    listed = re.findall(rf'^::: {name}\.(?:\w+\.)*(\w+)$', page.read_text(), re.MULTILINE)
    # `load` is among the functions.
    assert set(listed) == set(importlib.import_module(name).__all__) - {'load'}


def test_every_function_is_on_its_page():
    page = (ROOT / 'docs/api/functions.md').read_text()
    places = re.findall(r'^::: (.*)\.(\w+)\n.*\n +heading: beit_mm\.(\w+)$', page, re.MULTILINE)
    assert len(places) == len(beit_mm.FUNCTIONS)
    for module, function, name in places:
        assert getattr(importlib.import_module(module), function) is getattr(beit_mm, name)


def test_every_command_is_told_and_every_one_told_is_there():
    table = (ROOT / 'docs/own_images.md').read_text().partition('\n\n## ')[0]
    assert set(re.findall(r'^\| `(\w+)', table, re.MULTILINE)) == {n.split()[0] for n in COMMANDS}


def test_every_extra_is_told_by_the_page_and_by_info():
    extras = set(metadata('beit-mm').get_all('Provides-Extra'))
    # The stacks have a page of their own, and who changes this project has CONTRIBUTING.md.
    for_users = extras - {'onedl', 'openmmlab', 'docs', 'test'}
    told = re.findall(r'^\| `(\w+)` \|', (ROOT / 'docs/install.md').read_text(), flags=re.M)
    assert sorted(told) == sorted(for_users)
    assert set(EXTRAS) == for_users - {'all'}


def test_the_tables_of_experiments_name_every_recipe_of_vit_and_mae():
    page = (ROOT / 'docs/recipes.md').read_text()
    configs = [path.relative_to(ROOT / 'configs').as_posix() for path in RECIPES]
    for begin, end, own in (
        ("## ViT's", "## MAE's", ('vit_', 'vit/')),
        ("## MAE's", 'Beside these', ('mae_', 'mae/')),
    ):
        table = page.partition(begin)[2].partition(end)[0]
        named = re.findall(r'`((?:mae|vit)[\w/*]+\.py)`', table)
        assert [each for each in named if not fnmatch.filter(configs, each)] == []
        left = {name for name in configs if name.startswith(own)}
        for each in named:
            left -= set(fnmatch.filter(configs, each))
        assert not left


@functools.cache
def registered() -> set[str]:
    """Names of this project's components."""
    from beit_mm import registry

    found = set()
    for value in vars(registry).values():
        if getattr(value, 'scope', None) == 'beit_mm':
            value.import_from_location()
            found |= set(value.module_dict)
    return found


def test_every_component_is_listed_and_every_listed_one_is_there():
    listed = set(re.findall(r'`beit_mm\.([A-Z]\w+)`', (ROOT / 'docs/components.md').read_text()))
    # A function, which loader workers start with.
    assert listed == registered() - {'outlive_group_signals'}


WITH_EXAMPLES = [p for p in sorted((ROOT / 'beit_mm').rglob('*.py')) if '>>> ' in p.read_text()]


@pytest.mark.parametrize('path', WITH_EXAMPLES, ids=lambda path: path.stem)
def test_examples_in_docstrings_run(path):
    name = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted
    assert not result.failed
