"""The tool on made photos: random weights, weights of a file, one block, all blocks."""

import json
import os
import sys
from pathlib import Path

import forked
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

ROOT = Path(__file__).parent.parent
CONFIG = 'configs/claims/finetune.py'


@pytest.fixture(scope='module')
def colours(tmp_path_factory):
    """Red and blue photos with noise: any weights tell them apart."""
    root = tmp_path_factory.mktemp('photos')
    rng = np.random.default_rng(0)
    for split, size in (('train', 12), ('val', 6)):
        for label, name in enumerate(('blue', 'red')):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(size):
                pixels = rng.integers(0, 100, (64, 64, 3))
                pixels[..., 2 - 2 * label] += 120
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f'{index}.png')
    return root


def evaluate(colours, *arguments, code=0, options=()):
    root = f'dataset.data_root={colours}'
    result = forked.run(
        [
            sys.executable, ROOT / 'tools/evaluate_features.py', ROOT / CONFIG, *arguments,
            '--json', colours / 'report.json', '--cfg-options',
            *(f'{loader}_dataloader.{root}' for loader in ('train', 'val', 'test')), *options,
        ],
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )  # fmt: skip
    assert result.returncode == code, result.stdout + result.stderr
    return result.stdout if code == 0 else result.stderr


def test_random_weights_see_colours_in_every_block(colours):
    output = evaluate(colours, 'none', '--by-layer', '--neighbors', '5')
    report = json.loads((colours / 'report.json').read_text())
    assert (report['train'], report['test'], report['chance']) == (24, 12, 50)
    assert [row['layer'] for row in report['layers']] == [1, 2, 3, 4]
    for row in report['layers']:
        assert row['knn'] == row['linear'] == 100
    assert '24 training and 12 test images' in output
    assert '5-NN' in output


def test_the_weights_are_those_of_the_file(colours):
    """Weights that are blind to the image, which random ones are not."""
    cfg = Config.fromfile(ROOT / CONFIG)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        backbone = MODELS.build({**cfg.model.backbone, 'init_cfg': None})
    state = backbone.state_dict()
    for name in ('patch_embed.proj.weight', 'patch_embed.proj.bias', 'pos_embed', 'cls_token'):
        state[name] = torch.zeros_like(state[name])
    torch.save(state, colours / 'blind.pth')
    evaluate(colours, colours / 'blind.pth', '--layer', '3')
    (row,) = json.loads((colours / 'report.json').read_text())['layers']
    assert row['layer'] == 3
    assert row['linear'] == row['knn'] == 50, 'without any input the classes look alike'


def test_what_is_not_there_is_named(colours):
    assert '--layer is 9; the backbone has 1 to 4' in evaluate(
        colours, 'none', '--layer', '9', code=2
    )
    assert 'no_such.pth' in evaluate(colours, 'no_such.pth', code=2)


@pytest.mark.parametrize(
    ('option', 'said'),
    [
        ('num_classes=7', 'num_classes is a variable of the config, which nothing reads any more'),
        ('model.backbone.init_cfg.checkpoint=x', 'among --cfg-options, and CHECKPOINT says it'),
        ('model.backbone.out_indices=1', 'among --cfg-options, and --layer and --by-layer say it'),
        ('num_classes', "--cfg-options 'num_classes': it must be KEY=VALUE"),
    ],
)
def test_settings_that_nothing_would_read_are_refused(colours, option, said):
    assert said in evaluate(colours, 'none', code=2, options=[option])


def test_repeated_and_joined_data_sets_and_a_preprocessor_beside_the_model(colours, monkeypatch):
    """As recipes of MMPretrain's have them; each image counts once."""
    from beit_mm.engine.checking.config_check import enter_scope
    from beit_mm.engine.measuring import feature_evaluation

    enter_scope('mmpretrain')
    cfg = Config.fromfile(ROOT / CONFIG)
    cfg.model.backbone.init_cfg = None
    train, test = (cfg[f'{name}_dataloader'].dataset for name in ('train', 'test'))
    train.data_root = test.data_root = str(colours)
    cfg.train_dataloader.dataset.pipeline = [dict(type='LoadImageFromFile')]
    settings = dict(layer=None, by_layer=True, neighbors=5, seed=0)
    seen = []
    real = feature_evaluation.knn_top1

    def noted(*sets, **how):
        seen.append(sets)
        return real(*sets, **how)

    monkeypatch.setattr(feature_evaluation, 'knn_top1', noted)
    plain = feature_evaluation.evaluate_features(cfg, **settings)

    cfg.data_preprocessor = cfg.model.pop('data_preprocessor')
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset',
        times=3,
        dataset=dict(
            type='ConcatDataset',
            datasets=[dict(type='ClassBalancedDataset', oversample_thr=0.9, dataset=train)],
        ),
    )
    cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=[test])
    assert feature_evaluation.evaluate_features(cfg, **settings) == plain
    for before, now in zip(*(seen[: len(seen) // 2], seen[len(seen) // 2 :]), strict=True):
        for one, other in zip(before, now, strict=True):
            torch.testing.assert_close(one, other)
