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
