"""What is said before a run of bands that do not agree, by line, and that good configs pass."""

from pathlib import Path

import pytest
from mmengine.config import Config
from quickstart_pretraining import pretraining_in

from beit_mm.component import ConfigError
from beit_mm.engine import check_config

ROOT = Path(__file__).parent.parent.parent
RGBN = ['red', 'green', 'blue', 'nir']
STEP = 'train_dataloader.dataset.pipeline[0]'


@pytest.fixture
def cfg(tmp_path):
    return pretraining_in(tmp_path)


def read_bands(cfg, bands):
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'].dataset.pipeline[0].bands = bands


def take_bands(cfg, number, bands=None):
    for part in (cfg.model.backbone, cfg.model.target_generator.tokenizer):
        part.update(in_channels=number, bands=bands)
    preprocessor = cfg.model.data_preprocessor
    if number not in (1, 3):
        # MMPretrain's takes one number or three.
        preprocessor.type = 'beit_mm.TwoViewDataPreprocessor'
    for name in ('mean', 'std', 'second_mean', 'second_std'):
        preprocessor[name] = [preprocessor[name][0]] * number


def refusal(cfg) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check_config(cfg, 'train')
    return str(caught.value).splitlines()


@pytest.mark.parametrize(('bands', 'number'), [(1, 1), (4, 4), (RGBN, 4), (None, 3)])
def test_bands_that_agree_pass(cfg, bands, number):
    read_bands(cfg, bands)
    take_bands(cfg, number, bands if isinstance(bands, list) else None)
    assert not [note for note in check_config(cfg, 'train') if 'bands' in note]


def test_a_grey_network_and_a_pipeline_of_three_bands(cfg):
    """What died in the first convolution."""
    take_bands(cfg, 1)
    said = refusal(cfg)
    assert said == [
        f'{key}.in_channels is 1, and {STEP} (LoadPhoto) reads 3 bands; set '
        f'{key}.in_channels=3, or {STEP}.bands=1'
        for key in ('model.backbone', 'model.target_generator.tokenizer')
    ]


def test_a_pipeline_of_four_bands_and_a_network_of_three(cfg):
    read_bands(cfg, RGBN)
    said = refusal(cfg)
    for part in ('model.backbone', 'model.target_generator.tokenizer'):
        assert (
            f'{part}.in_channels is 3, and {STEP} (LoadPhoto) reads 4 bands '
            f'(red, green, blue, nir); set {part}.in_channels=4, or {STEP}.bands=3'
        ) in said
    for name in ('mean', 'std', 'second_mean', 'second_std'):
        line = next(line for line in said if line.startswith(f'model.data_preprocessor.{name} '))
        assert 'has 3 numbers' in line
        assert 'reads 4 bands' in line
    assert len(said) == 6


def test_names_in_another_order_are_named(cfg):
    read_bands(cfg, RGBN[::-1])
    take_bands(cfg, 4, RGBN)
    assert (
        f'model.backbone.bands is {RGBN}, and {STEP} (LoadPhoto) reads 4 bands '
        f'(nir, blue, green, red); set model.backbone.bands={RGBN[::-1]}'
    ) in refusal(cfg)


def test_names_that_a_network_does_not_keep_are_noted(cfg):
    read_bands(cfg, ['nir', 'red', 'green'])
    notes = [note for note in check_config(cfg, 'train') if '.bands is None' in note]
    assert [note.partition('.bands')[0] for note in notes] == [
        'model.backbone',
        'model.target_generator.tokenizer',
    ]
    assert "with model.backbone.bands=['nir', 'red', 'green'] weights are fitted" in notes[0]


def test_as_many_names_as_channels(cfg):
    cfg.model.backbone.bands = RGBN
    assert any(
        line.startswith('model.backbone: bands is') and 'set in_channels=4' in line
        for line in refusal(cfg)
    )


def test_targets_of_pixels_are_of_the_bands_that_are_read(cfg):
    read_bands(cfg, RGBN)
    take_bands(cfg, 4, RGBN)
    cfg.model.target_generator = dict(type='beit_mm.MeanColorTargetGenerator', patch_size=8)
    said = refusal(cfg)
    key = 'model.target_generator'
    assert any(line.startswith(f'{key}.in_channels is 3, and {STEP}') for line in said)
    assert any(f'it must be {key}.levels ** in_channels, 512' in line for line in said)


@pytest.mark.parametrize(
    ('load', 'number', 'told'),
    [
        (dict(type='LoadImageFromFile'), 1, 'beit_mm.LoadPhoto with bands=1'),
        (dict(type='LoadImageFromFile', color_type='grayscale'), 1, ''),
        (dict(type='LoadImageFromFile', color_type='unchanged'), 4, ''),
        (dict(type='beit_mm.LoadPhoto', bands=4, as_array=True), 4, ''),
        (dict(type='beit_mm.LoadPhoto', as_array=True), 4, 'pipeline[0].bands=4'),
    ],
)
def test_classifiers_are_asked_too(load, number, told):
    cfg = Config.fromfile(ROOT / 'configs/quickstart/scratch.py')
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'] = cfg[f'{split}_cfg'] = None
    cfg.optim_wrapper = cfg.val_evaluator = None
    cfg.model.backbone.in_channels = number
    cfg.model.data_preprocessor.update(mean=[1.0] * number, std=[1.0] * number, to_rgb=True)
    dataset = dict(type='CustomDataset', pipeline=[load, dict(type='PackInputs')], with_label=False)
    cfg.test_dataloader = dict(dataset=dataset, sampler=dict(type='DefaultSampler'))
    if not told:
        check_config(cfg, 'test')
        return
    with pytest.raises(ConfigError) as caught:
        check_config(cfg, 'test')
    assert told in str(caught.value)


def test_three_bands_in_their_order_are_not_turned_round():
    cfg = Config.fromfile(ROOT / 'configs/quickstart/scratch.py')
    for split in ('train', 'val'):
        cfg[f'{split}_dataloader'] = cfg[f'{split}_cfg'] = None
    cfg.optim_wrapper = cfg.val_evaluator = None
    cfg.model.data_preprocessor.to_rgb = True
    load = dict(type='beit_mm.LoadPhoto', bands=['nir', 'red', 'green'])
    dataset = dict(type='CustomDataset', pipeline=[load, dict(type='PackInputs')], with_label=False)
    cfg.test_dataloader = dict(dataset=dataset, sampler=dict(type='DefaultSampler'))
    with pytest.raises(ConfigError, match=r'set model\.data_preprocessor\.to_rgb=False'):
        check_config(cfg, 'test')


@pytest.mark.parametrize(
    ('numbers', 'turned', 'told'),
    [(4, False, 'one number, for all bands alike'), (3, False, 'one number'), (1, False, ''),
     (1, True, r'set model\.data_preprocessor\.to_rgb=False')],
)  # fmt: skip
def test_what_mmengines_preprocessor_cannot_do_is_said(numbers, turned, told, tmp_path):
    """It stops at four means, and of four bands it turns round, the fourth is lost."""
    cfg = Config.fromfile(ROOT / 'configs/dvae_small_train.py')
    for split in ('train', 'val'):
        (tmp_path / split).mkdir()
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.data_root = str(tmp_path)
        dataset.pipeline = [
            dict(type='beit_mm.LoadPhoto', bands=4, as_array=True), dict(type='PackInputs')
        ]  # fmt: skip
    cfg.model.in_channels = 4
    cfg.model.data_preprocessor.update(mean=[0] * numbers, std=[255] * numbers, to_rgb=turned)
    if not told:
        check_config(cfg, 'train')
        return
    with pytest.raises(ConfigError, match=told):
        check_config(cfg, 'train')
