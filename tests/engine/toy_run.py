"""A classifier on 36 made photos by the tool that users call, for tests of what it says."""

import argparse
import itertools
import os
import sys
from pathlib import Path

import forked
import numpy as np
from mmengine.config import Config
from PIL import Image

from beit_mm.engine import add_common_arguments, build_runner, load_config

ROOT = Path(__file__).parent.parent.parent
run_numbers = itertools.count()
CLASSES = ('ant', 'bee', 'cow')


def make_photos(root, train=12, val=4, classes=CLASSES):
    """Class folders of noise, 32 x 32."""
    rng = np.random.default_rng(0)
    for split, number in (('train', train), ('val', val)):
        for name in classes:
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(number):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f'{index}.png')
    return root


def config(root):
    """The quickstart's classifier, from scratch, on such photos."""
    cfg = Config.fromfile(ROOT / 'configs/quickstart/scratch.py')
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[loader].dataset.data_root = str(root)
    cfg.train_dataloader.dataset.ann_file = ''
    cfg.train_dataloader.update(batch_size=8, num_workers=0, persistent_workers=False)
    cfg.model.head.num_classes = cfg.model.data_preprocessor.num_classes = len(CLASSES)
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=2, val_interval=2)
    cfg.param_scheduler = dict(type='CosineAnnealingLR', by_epoch=False, T_max=2)
    return cfg


def write_config(root, text=''):
    """A config file on top of :func:`config`; ``text`` is added to it."""
    config(root).dump(root / 'base.py')
    path = root / 'own.py'
    path.write_text(f"_base_ = ['./base.py']\n{text}")
    return path


def begin(root, work_dir, *options):
    """What the tool does up to the first iteration, in this process; the Runner."""
    parser = argparse.ArgumentParser()
    add_common_arguments(parser)
    given = ['--cfg-options', *options] if options else []
    args = parser.parse_args([str(write_config(root)), '--work-dir', str(work_dir), *given])
    cfg = load_config(args)
    # Loggers and visualizers of a name are shared, also with processes that are forked.
    cfg.experiment_name = f'toy_{next(run_numbers)}'
    return build_runner(cfg, mode='train')


def train(root, work_dir, *options, resume=False, text='', debug=False):
    """``tools/train.py`` on a config with these options; ``text`` is added to the config file."""
    path = write_config(root, text)
    command = [sys.executable, ROOT / 'tools/train.py', path, '--work-dir', work_dir]
    command += ['--resume'] if resume else []
    command += ['--debug'] if debug else []
    command += ['--cfg-options', *options] if options else []
    return forked.run(command, cwd=root, env={**os.environ, 'OMP_NUM_THREADS': '1'})
