"""Images of 12 bits in 16: a run measures their range once, keeps it, and repeats it."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from toy_run import CLASSES, begin, train

from beit_mm.checkpoints.writing import write_weights
from beit_mm.component import innermost
from beit_mm.datasets.reading.choosing import Reading
from beit_mm.engine import ConfigError
from beit_mm.engine.starting.measured_ranges import FILE, measure_ranges, repeat_ranges

WORD = [f'{loader}_dataloader.dataset.pipeline.0.value_range=percentile' for loader in
        ('train', 'val', 'test')]  # fmt: skip


@pytest.fixture(scope='module')
def scans(tmp_path_factory):
    """Class folders of 12-bit scans, with a hot pixel in each."""
    root = tmp_path_factory.mktemp('scans')
    rng = np.random.default_rng(0)
    for split, number in (('train', 12), ('val', 4)):
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for index in range(number):
                pixels = rng.normal(1500, 400, (32, 32)).clip(0, 4095).astype(np.uint16)
                pixels[3, 4] = 65535
                Image.fromarray(pixels).save(root / split / name / f'{index}.png')
    return root


def value_ranges(cfg):
    """Of the loaders for training, validation and test, whatever wraps their data sets."""
    datasets = [innermost('', cfg[f'{name}_dataloader'].dataset)[0][1]
                for name in ('train', 'val', 'test')]  # fmt: skip
    return [dataset['pipeline'][0].get('value_range') for dataset in datasets]


def test_deep_images_are_measured_by_default_and_fill_the_range(scans, tmp_path):
    runner = begin(scans, tmp_path / 'run')
    kept = json.loads((tmp_path / 'run' / FILE).read_text())['value_range']
    assert all(high < 4096 for _, high in kept['uint16'])
    for found in value_ranges(runner.cfg):
        assert (
            Reading(value_range=found.to_dict()).value_range
            == Reading(value_range=kept).value_range
        )
    pixels = runner.train_dataloader.dataset[0]['inputs'].float()
    assert 100 < pixels.mean() < 155
    # Resampled; the upper 8 bits alone would have a spread of 1.5.
    assert pixels.std() > 15


def test_a_range_is_measured_once_and_repeated_where_a_run_goes_on(scans, tmp_path):
    work_dir = tmp_path / 'run'
    done = train(scans, work_dir, *WORD)
    assert done.returncode == 0, done.stdout
    assert 'Ranges of pixels, measured on 36 images' in done.stdout
    kept = json.loads((work_dir / FILE).read_text())
    assert kept['asked'] == 'percentile'
    # Other numbers, to see that they are taken.
    kept['value_range'] = {'uint16': [[0, 1000]] * 3}
    (work_dir / FILE).write_text(json.dumps(kept))
    again = train(scans, work_dir, *WORD, 'train_cfg.max_iters=3', resume=True)
    assert again.returncode == 0, again.stdout
    dumped = Config.fromfile(next(work_dir.glob('own.py')))
    assert value_ranges(dumped) == [kept['value_range']] * 3
    # So does a config that is not the one of its log, as the commands have one.
    cfg = Config.fromfile(scans / 'own.py')
    assert repeat_ranges(cfg, work_dir)
    assert value_ranges(cfg) == [kept['value_range']] * 3
    assert not repeat_ranges(cfg, scans)
    # A test of its checkpoint takes what it was trained with.
    cfg = Config.fromfile(scans / 'own.py')
    cfg.merge_from_dict(dict(option.split('=') for option in WORD))
    cfg.load_from = (work_dir / 'last_checkpoint').read_text()
    measure_ranges(cfg, 'test')
    for found in value_ranges(cfg):
        assert [tuple(pair) for pair in found['uint16']] == [(0, 1000)] * 3


def test_a_test_without_a_range_is_refused(scans):
    cfg = Config.fromfile(scans / 'own.py')
    cfg.merge_from_dict(dict(option.split('=') for option in WORD))
    cfg.load_from = str(scans / 'nothing.pth')
    with pytest.raises(ConfigError, match='give \\(low, high\\)'):
        measure_ranges(cfg, 'test')


@pytest.mark.parametrize('name', ['weights.pth', 'weights.safetensors'])
def test_bare_weights_say_what_range_they_were_trained_with(scans, tmp_path, name):
    about = dict(images=dict(value_range=dict(uint16=[[0, 1000]])))
    write_weights(tmp_path / name, dict(w=torch.zeros(1)), 'beit_mm', about)
    cfg = Config.fromfile(scans / 'own.py')
    cfg.load_from = str(tmp_path / name)
    measure_ranges(cfg, 'test')
    assert value_ranges(cfg) == [about['images']['value_range']] * 3


def test_all_data_sets_that_are_joined_are_measured(scans, tmp_path):
    brighter = tmp_path / 'brighter'
    for path in (scans / 'train').rglob('*.png'):
        target = brighter / path.relative_to(scans)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(Image.open(path)) + np.uint16(20000)).save(target)
    cfg = Config.fromfile(scans / 'own.py')
    own = innermost('', cfg.train_dataloader.dataset)[0][1]
    other = {**own, 'data_root': str(brighter)}
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[own, other])
    cfg.work_dir = str(tmp_path / 'run')
    measure_ranges(cfg, 'train')
    low, high = json.loads((tmp_path / 'run' / FILE).read_text())['value_range']['uint16'][0]
    assert low < 4096
    assert high > 20000


def test_photos_of_8_bits_are_left_as_they_are(tmp_path):
    from toy_run import make_photos

    root = make_photos(tmp_path / 'photos')
    runner = begin(root, tmp_path / 'run')
    assert value_ranges(runner.cfg) == [None] * 3
    assert not (tmp_path / 'run' / FILE).exists()


def test_a_refused_run_leaves_no_range(scans, tmp_path):
    told = train(scans, tmp_path / 'run', *WORD, 'model.head.num_classes=1')
    assert told.returncode == 2
    assert not (tmp_path / 'run').exists()


def test_a_step_that_takes_8_bits_alone_is_told(scans, tmp_path):
    """With a range before the run begins; without one the upper bits are read, as ever."""
    jitter = """
train_dataloader = _base_.train_dataloader
train_dataloader.dataset.pipeline.insert(1, dict(type='torchvision/ColorJitter', brightness=0.4))
"""
    told = train(scans, tmp_path / 'run', *WORD, text=jitter)
    assert told.returncode == 2
    assert 'ColorJitter after it takes 8 bits' in told.stdout + told.stderr
    done = train(scans, tmp_path / 'plain', text=jitter)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'ColorJitter in the pipeline takes 8' in done.stdout
    assert 'reduced to 8 bits' in done.stdout


def test_what_is_wrong_with_a_data_set_is_told_as_ever(scans, tmp_path):
    """Whether its images would be measured or not."""
    nothing = 'train_dataloader.dataset.ann_file=nothing.txt'
    for options in ([nothing], [nothing, *WORD]):
        told = train(scans, tmp_path / 'run', *options)
        assert told.returncode == 2
        assert 'Traceback' not in told.stdout + told.stderr
        assert 'nothing.txt' in told.stdout + told.stderr
