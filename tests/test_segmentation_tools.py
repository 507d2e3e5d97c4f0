"""Segmentation by the command lines: train, resume, test, scales and flips, two processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_segmentation_configs import make_folders
from test_tools import free_port, logged, run

ROOT = Path(__file__).parent.parent

# Narrow networks and small crops; all else is the config's.
CHILD = """
_base_ = ['{root}/configs/{name}.py']
model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True, embed_dims=24, num_layers=4, num_heads=2, feedforward_channels=24,
        ),
        img_size=64, out_indices=(0, 1, 2, 3), init_cfg=None,
    ),
    data_preprocessor=dict(size=(64, 64)),
    decode_head=dict(in_channels=24, channels=8),
    auxiliary_head=[],
    test_cfg=dict(crop_size=(64, 64), stride=(43, 43)),
)
load = [dict(type='LoadImageFromFile')]
annotation = [
    dict(type='LoadAnnotations'), dict(type='beit_mm.CheckAnnotation', num_classes=150),
]
pack = [dict(type='PackSegInputs')]
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(
    data_root='{data}',
    pipeline=[*load, *annotation, dict(type='RandomCrop', crop_size=(64, 64)), *pack],
))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(
    data_root='{data}', pipeline=[*load, *annotation, *pack],
))
test_dataloader = val_dataloader
tta_pipeline = [*load, dict(type='TestTimeAug', transforms=[
    [dict(type='Resize', scale=(200, edge), keep_ratio=True) for edge in (70, 90)],
    [dict(type='RandomFlip', prob=p, direction='horizontal') for p in (0.0, 1.0)],
    [annotation[0]], [annotation[1]], pack,
])]
train_cfg = dict(max_iters=2, val_interval=4)
default_hooks = dict(checkpoint=dict(interval=2), logger=dict(interval=1))
"""


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    root = tmp_path_factory.mktemp('segmentation')
    make_folders(root / 'data', 150, sizes=((100, 130), (90, 70)))
    path = root / 'config.py'
    path.write_text(CHILD.format(root=ROOT, name='beit_segment_ade20k', data=root / 'data'))
    return path


def test_train_with_two_processes_resume_with_one_and_test(config, tmp_path):
    """SyncBN becomes batch norm where there is no GPU, in one process and in two."""
    work_dir = tmp_path / 'run'
    run('dist_train.sh', config, 2, '--work-dir', work_dir, cwd=tmp_path)
    # As many images an iteration as before: twice as many in the one process.
    run('train.py', config, '--work-dir', work_dir, '--resume',
        '--cfg-options', 'train_cfg.max_iters=4', 'train_dataloader.batch_size=4',
        cwd=tmp_path)  # fmt: skip
    steps = logged(work_dir)
    assert [line['step'] for line in steps] == [1, 2, 3, 4]
    # Linear warm-up of the head's rate, over 1500 steps; in a run twice as long, over 3000.
    for index, line in enumerate(steps):
        part = index / (1499 if index < 2 else 2999)
        assert line['base_lr'] == pytest.approx(1e-3 * (1e-6 + part), rel=1e-3, abs=1e-9)
    validated = [
        json.loads(line)
        for path in work_dir.glob('*/vis_data/scalars.json')
        for line in path.read_text().splitlines()
        if 'mIoU' in line
    ]
    # At the end of each run.
    assert len(validated) == 2

    out = tmp_path / 'metrics.json'
    run('test.py', config, work_dir / 'iter_4.pth', '--work-dir', tmp_path / 'test', '--tta',
        '--out', out, cwd=tmp_path)  # fmt: skip
    metrics = json.loads(out.read_text())
    assert metrics.keys() == {'aAcc', 'mIoU', 'mAcc'}
    assert all(np.isfinite(value) and 0 <= value <= 100 for value in metrics.values())
    state = torch.load(work_dir / 'iter_4.pth', weights_only=False)['state_dict']
    assert state['decode_head.up_convs.0.0.bn.num_batches_tracked'] == 4


def test_trains_in_a_project_without_mmpretrain_each_run_with_its_own_log(config):
    code = """
import sys
sys.modules['mmpretrain'] = None
import torch
from mmengine.config import Config
from mmengine.runner import Runner
for work_dir in sys.argv[2:]:
    cfg = Config.fromfile(sys.argv[1])
    cfg.work_dir, cfg.experiment_name, cfg.train_cfg.max_iters = work_dir, work_dir, 1
    Runner.from_cfg(cfg).train()
"""
    work_dirs = [config.parent / name for name in ('alone', 'again')]
    subprocess.run(
        [sys.executable, '-c', code, config, *work_dirs],
        env={**os.environ, 'CUDA_VISIBLE_DEVICES': '', 'PORT': str(free_port())},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    for work_dir in work_dirs:
        (line,) = logged(work_dir)
        assert np.isfinite(line['loss'])
