"""Images of 12 bits in 16: a run measures their range once, keeps it, and repeats it."""

import json

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from toy_run import CLASSES, begin, train

from beit_mm.datasets.reading.choosing import Reading
from beit_mm.engine import ConfigError
from beit_mm.engine.checking.data_check import innermost
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
