"""Masked patch prediction by the Runner: killed and resumed, drawn, and looked at."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from noisy_run import KillAt, Killed, assert_same_end
from PIL import Image

from beit_mm.commands.look_reconstructions import look_reconstructions
from beit_mm.engine import build_runner

run_numbers = itertools.count()
SIZE, PATCH, GRID, NUM_ITERS = 32, 8, (4, 4), 6
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp('vit')
    rng = np.random.default_rng(0)
    for split, count in (('train', 12), ('val', 4)):
        (root / split).mkdir()
        for index in range(count):
            pixels = rng.integers(0, 256, (40, 44, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / split / f'{index:02d}.png')
    return root


def train(photos, work_dir, name='vit_masked_patch_pretrain', kill_at=None, resume=False):
    """The recipe with nothing made smaller but its sizes."""
    cfg = Config.fromfile(ROOT / f'configs/{name}.py')
    arch = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
    cfg.model.backbone.update(arch=arch, img_size=SIZE, patch_size=PATCH)
    cfg.model.target_generator.patch_size = PATCH
    cfg.model.head.update(embed_dims=16, num_masked=8)
    if 'num_values' in cfg.model.head:
        cfg.model.head.num_values = 3 * PATCH**2
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        *_, views, corruption, _ = loader.dataset.pipeline
        views.update(size=SIZE, second_size=SIZE)
        corruption.grid_size = GRID
        loader.dataset.data_root = str(photos)
        loader.update(batch_size=4, num_workers=0, pin_memory=False)
    cfg.train_dataloader.persistent_workers = False
    cfg.val_dataloader, cfg.val_cfg = cfg.test_dataloader, {}
    cfg.val_evaluator = cfg.test_evaluator
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=NUM_ITERS, val_interval=NUM_ITERS)
    cfg.param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=3)]
    cfg.custom_hooks = [dict(type='beit_mm.ReconstructionsHook', interval=0)]
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=1, max_keep_ckpts=1)
    cfg.default_hooks.logger.interval = 1
    cfg.log_processor = dict(by_epoch=False)
    cfg.randomness, cfg.log_level = dict(seed=0), 'WARNING'
    cfg.work_dir, cfg.launcher, cfg.resume = str(work_dir), 'none', resume
    cfg.experiment_name = f'test_vit_{next(run_numbers)}'
    runner = build_runner(cfg, 'train')
    if kill_at is not None:
        runner.register_hook(KillAt(kill_at))
    runner.train()
    return runner


def test_resumed_is_undisturbed_bit_for_bit(photos, tmp_path):
    one, other = tmp_path / 'one', tmp_path / 'other'
    train(photos, one)
    with pytest.raises(Killed):
        train(photos, other, kill_at=4)
    train(photos, other, resume=True)
    assert_same_end(one, other, f'iter_{NUM_ITERS}.pth')


@pytest.mark.parametrize('name', ['vit/downsized_colours', 'vit/pixels'])
def test_every_target_is_measured_drawn_and_looked_at(photos, tmp_path, name, capsys):
    runner = train(photos, tmp_path / 'run', name)
    scores = runner.message_hub.log_scalars
    assert ('val/mim/mse' if 'pixels' in name else 'val/mim/acc') in scores
    assert list((tmp_path / 'run').rglob('reconstructions_*.png'))
    out = tmp_path / 'look.png'
    # Of colours one is drawn; pixels are values.
    drawn = {} if 'pixels' in name else dict(temperature=1.0)
    look_reconstructions(tmp_path / 'run', [photos / 'val'], out=out, **drawn)
    assert ('squared error' if 'pixels' in name else 'hidden colors') in capsys.readouterr().out
    with np.load(out.with_suffix('.npz')) as arrays:
        # Half of 16 patches.
        assert (arrays['mask'].sum(axis=(1, 2)) == 8).all()
        if 'pixels' not in name:
            assert (arrays['hidden'] == 8 * 16).all()
            assert arrays['predicted_targets'].shape == (4, *GRID, 16)
            assert arrays['mean over the colors'].shape == (4, 3, 16, 16)
