"""Two processes train as one does, on a machine without GPUs, by the tools a user types."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from beit_mm.checkpoints import load_state_dict
from beit_mm.models import DiscreteVAE
from beit_mm.visualization.films import frames_of

ROOT = Path(__file__).parent.parent
GLOBAL_BATCH, ITERATIONS = 8, 6

# Masks and crops that depend on the picture alone, and each rank's weights at the end.
PLUGIN = """
import zlib
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, TRANSFORMS
from beit_mm.datasets import blockwise_mask

@TRANSFORMS.register_module()
class MaskOfThePath(BaseTransform):
    def transform(self, results):
        rng = np.random.default_rng(zlib.crc32(results['img_path'].encode()))
        results['mask'] = blockwise_mask((4, 4), 6, min_block=2, rng=rng)
        return results

@HOOKS.register_module()
class SaveEachRank(Hook):
    def after_train(self, runner):
        state = {k.removeprefix('module.'): v for k, v in runner.model.state_dict().items()}
        torch.save(state, f'{runner.work_dir}/rank{runner.rank}.pth')
"""


@pytest.fixture(scope='module')
def workspace(tmp_path_factory):
    """Pictures, a tokenizer, and a pre-training config with nothing random but the start."""
    root = tmp_path_factory.mktemp('distributed')
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        (root / 'data' / split / 'any').mkdir(parents=True)
        for index in range(GLOBAL_BATCH * 3):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / 'data' / split / 'any' / f'{index}.png')
    cfg = Config.fromfile(ROOT / 'configs/quickstart/pretrain.py')
    tokenizer = {k: v for k, v in cfg.model.target_generator.tokenizer.items() if k != 'type'}
    torch.save(DiscreteVAE(**tokenizer).state_dict(), root / 'tokenizer.pth')
    (root / 'plugin.py').write_text(PLUGIN)
    (root / 'config.py').write_text(f"""
_base_ = ['{ROOT}/configs/quickstart/pretrain.py']
custom_imports = dict(imports=['beit_mm', 'plugin'])
model = dict(target_generator=dict(checkpoint='{root}/tokenizer.pth'))
train_dataloader = dict(
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(data_root='{root}/data', pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='beit_mm.TwoViewRandomResizedCrop', size=32, scale=(1.0, 1.0), ratio=(1.0, 1.0),
             second_size={{{{_base_.second_size}}}}),
        dict(type='MaskOfThePath'),
        dict(type='PackInputs'),
    ]))
val_dataloader = dict(dataset=dict(data_root='{root}/data'))
train_cfg = dict(_delete_=True, by_epoch=True, max_epochs=2, val_interval=100)
param_scheduler = []
optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=0.5))
custom_hooks = [
    dict(type='SaveEachRank'), dict(type='beit_mm.ReconstructionsHook', interval=4)]
default_hooks = dict(logger=dict(interval=1))
""")
    return root


def environment(root) -> dict:
    bin_folder = str(Path(sys.executable).parent)
    return {
        **os.environ,
        'PATH': f'{bin_folder}:{os.environ["PATH"]}',
        'PYTHONPATH': str(root),
        'OMP_NUM_THREADS': '1',
        'PORT': '29611',
        'CUDA_VISIBLE_DEVICES': '',
    }


def train(root, name, processes) -> Path:
    work_dir = root / name
    arguments = [root / 'config.py', '--work-dir', work_dir, '--cfg-options',
                 f'train_dataloader.batch_size={GLOBAL_BATCH // processes}']  # fmt: skip
    if processes == 1:
        command = [sys.executable, ROOT / 'tools/train.py', *arguments]
    else:
        command = [ROOT / 'tools/dist_train.sh', arguments[0], str(processes), *arguments[1:]]
    result = subprocess.run(
        command, env=environment(root), cwd=root, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return work_dir


@pytest.mark.slow
def test_two_processes_follow_one(workspace):
    """Half the batch each, gradients averaged: the same weights within float32 rounding."""
    alone = torch.load(train(workspace, 'one', 1) / 'rank0.pth')
    work_dir = train(workspace, 'two', 2)
    together = [torch.load(work_dir / f'rank{rank}.pth') for rank in (0, 1)]
    start = load_state_dict(workspace / 'tokenizer.pth')

    moved = 0.0
    for name, weight in alone.items():
        assert torch.equal(together[0][name], together[1][name]), f'ranks differ in {name}'
        torch.testing.assert_close(together[0][name], weight, atol=1e-5, rtol=1e-4, msg=name)
        tokenizer_name = name.removeprefix('target_generator.tokenizer.')
        if tokenizer_name != name:
            assert torch.equal(weight, start[tokenizer_name]), 'the tokenizer was trained'
        elif name.endswith('blocks.0.mlp.fc1.bias'):
            moved = weight.abs().max()
    assert moved > 1e-4, 'nothing was trained, so the comparison says nothing'
    # The main process alone draws, while the other waits for its gradients.
    for run in (workspace / 'one', work_dir):
        drawn = [frame.iteration for frame in frames_of(run, 'learning')]
        assert drawn == [0, 4, ITERATIONS]
