"""The wheel carries recipes and tools, and works from an empty folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow
RECIPES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ('configs', 'tools')
    for path in (ROOT / folder).rglob('*')
    if path.is_file() and '__pycache__' not in path.parts
)


def run(*command, cwd):
    # Without what would put the checkout before the wheel.
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope='module')
def sources(tmp_path_factory):
    """What a build needs, without what lies about in a checkout."""
    copy = tmp_path_factory.mktemp('sources')
    for name in ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'LICENSE',
                 'CHANGELOG.md', 'Makefile', 'requirements.txt', 'model-index.yml'):  # fmt: skip
        shutil.copy(ROOT / name, copy)
    for name in ('beit_mm', 'configs', 'tools'):
        ignored = shutil.ignore_patterns('__pycache__', '.mim')
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    return copy


def build_wheel(source, out):
    run(sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation',
        '-w', str(out), str(source), cwd=out)  # fmt: skip
    return next(out.glob('*.whl'))


@pytest.fixture(scope='module')
def wheel(sources, tmp_path_factory):
    return build_wheel(sources, tmp_path_factory.mktemp('wheel'))


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    """The Python of a fresh environment with the wheel, which borrows its dependencies."""
    folder = tmp_path_factory.mktemp('fresh')
    run(sys.executable, '-m', 'venv', str(folder / 'venv'), cwd=folder)
    python = folder / 'venv/bin/python'
    site = Path(run(str(python), '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))',
                    cwd=folder).strip())  # fmt: skip
    borrowed = sysconfig.get_path('purelib')
    # Without the checkout's own .pth files.
    (site / 'borrowed.pth').write_text(f'{borrowed}\n')
    run(str(python), '-m', 'pip', 'install', '-q', '--no-deps', '--ignore-installed', str(wheel),
        cwd=folder)  # fmt: skip
    return python


@pytest.fixture
def empty(tmp_path):
    return tmp_path


def test_the_wheel_holds_every_recipe_and_tool(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f'beit_mm/.mim/{name}' for name in RECIPES} <= names
    assert 'beit_mm/.mim/model-index.yml' in names
    assert not [name for name in names if 'tests' in name or '__pycache__' in name]


def test_the_source_distribution_builds_the_same_wheel(sources, wheel, tmp_path):
    run(sys.executable, 'setup.py', '-q', 'sdist', '-d', str(tmp_path), cwd=sources)
    with tarfile.open(next(tmp_path.glob('*.tar.gz'))) as archive:
        archive.extractall(tmp_path / 'unpacked', filter='data')
    (tmp_path / 'again').mkdir()
    again = build_wheel(next((tmp_path / 'unpacked').iterdir()), tmp_path / 'again')
    assert sorted(zipfile.ZipFile(again).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


def test_mmengine_finds_recipes_by_name(installed, empty):
    (empty / 'mine.py').write_text("_base_ = 'beit_mm::beit_pretrain.py'\nmax_epochs = 3\n")
    code = """
import beit_mm, pathlib
from mmengine.config import Config
from mmengine.hub import get_config, get_model
assert '.mim' not in beit_mm.__file__ and 'venv' in beit_mm.__file__, beit_mm.__file__
cfg = get_config('beit_mm::beit_pretrain.py')
mine = Config.fromfile('mine.py')
assert mine.model == cfg.model and mine.max_epochs == 3
model = get_model('beit_mm::quickstart/dvae.py')
print(type(model).__name__, get_config('beit_mm::beit_segment_ade20k.py').model.type)
"""
    assert run(str(installed), '-c', code, cwd=empty).split() == ['DiscreteVAE', 'EncoderDecoder']


def test_commands_run(installed, empty):
    program = str(installed.parent / 'beit-mm')
    assert 'beit_large_upernet_ade20k_640.py' in run(program, 'recipes', cwd=empty)
    assert 'beit-mm' in run(program, 'info', cwd=empty)
    assert list(empty.iterdir()) == []


def test_the_tools_run_as_mim_runs_them(installed, empty):
    """`mim train beit_mm CONFIG` is this command."""
    tools = run(str(installed), '-c',
                'from beit_mm.recipes import folder_of_tools as f; print(f())',
                cwd=empty).strip()  # fmt: skip
    assert tools.endswith('beit_mm/.mim/tools')
    (empty / 'photos').mkdir()
    for index in range(30):
        Image.new('RGB', (24, 30), (8 * index, 0, 0)).save(empty / f'photos/{index}.png')
    # One stage: without labels and a tokenizer.
    out = run(str(installed), f'{tools}/quickstart.py', '--out', 'out', '--speedup', '500',
              '--method', 'mae', '--data', 'photos', cwd=empty)  # fmt: skip
    assert 'of hidden patches of variance 1' in out
    assert (empty / 'out/reconstructions.png').is_file()
