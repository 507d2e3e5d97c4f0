"""The command lines: train, resume, test, alone and with two processes without GPUs."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import forked
import mmpretrain.apis  # noqa: F401, for the processes that are forked
import numpy as np
import pytest
import torch
from PIL import Image

from beit_mm.models import DiscreteVAE

ROOT = Path(__file__).parent.parent
CONFIG = ROOT / 'configs/quickstart/dvae.py'
SHORT = ['train_cfg.max_iters=4', 'train_cfg.val_interval=4', 'default_hooks.logger.interval=1']


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp('images')
    rng = np.random.default_rng(0)
    for split, count in (('train', 16), ('val', 5)):
        for name in ('a', 'b'):
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f'{index}.png')
    return root


def free_port() -> int:
    """One that nobody listens on, such as the same test in another environment."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return listener.getsockname()[1]


def run(command, *arguments, cwd, code=0) -> str:
    environment = {
        **os.environ,
        'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
        'OMP_NUM_THREADS': '1',
        'CUDA_VISIBLE_DEVICES': '',
        'PORT': str(free_port()),
    }
    prefix = [sys.executable] if command.endswith('.py') else []
    result = forked.run(
        [*prefix, ROOT / 'tools' / command, *map(str, arguments)],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == code, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout + result.stderr


def options(images, *more) -> list[str]:
    return [
        '--cfg-options',
        *(f'{name}_dataloader.dataset.data_root={images}' for name in ('train', 'val', 'test')),
        *more,
    ]


def logged(work_dir) -> list[dict]:
    """What the run logged for each training iteration, all log files together."""
    lines = [
        json.loads(line)
        for path in sorted(work_dir.glob('*/vis_data/scalars.json'))
        for line in path.read_text().splitlines()
    ]
    return [line for line in lines if 'loss' in line]


def test_train_resume_and_test(images, tmp_path):
    """A tokenizer made longer and resumed: it counts on, its schedule laid out anew."""
    work_dir = tmp_path / 'run'
    halves = ['default_hooks.checkpoint.interval=2', *SHORT[1:]]
    run('train.py', CONFIG, '--work-dir', work_dir,
        *options(images, 'train_cfg.max_iters=2', *halves), cwd=tmp_path)  # fmt: skip
    run('train.py', CONFIG, '--work-dir', work_dir, '--resume',
        *options(images, 'train_cfg.max_iters=4', *halves), cwd=tmp_path)  # fmt: skip
    steps = logged(work_dir)
    assert [line['step'] for line in steps] == [1, 2, 3, 4]
    # Closed form of the schedule over two iterations, and at the second half of four.
    for iteration, line in enumerate(steps):
        warm = (1 + np.cos(np.pi * iteration / (2 if iteration < 2 else 4))) / 2
        assert line['lr'] == pytest.approx(2e-5 + (5e-3 - 2e-5) * warm, rel=1e-4)

    out = tmp_path / 'metrics.json'
    run('test.py', CONFIG, work_dir / 'iter_4.pth', '--work-dir', tmp_path / 'test', '--out', out,
        *options(images), cwd=tmp_path)  # fmt: skip
    metrics = json.loads(out.read_text())
    tokenizer = DiscreteVAE(128, 32, 3, 1, 32, quantizer='vector').eval()
    tokenizer.load_state_dict(torch.load(work_dir / 'iter_4.pth', weights_only=False)['state_dict'])
    pixels = [
        np.asarray(Image.open(path).convert('RGB').resize((16, 16), Image.Resampling.BILINEAR))
        for path in sorted((images / 'val').glob('*/*.png'))
    ]
    batch = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    ids = tokenizer.tokenize(batch)
    error = (tokenizer.decode(ids) - batch).square().mean().item()
    assert metrics['tokenizer/recon_mse'] == pytest.approx(error, rel=1e-4)
    assert metrics['tokenizer/codes_used'] == len(ids.unique())


@pytest.mark.parametrize(
    ('command', 'option', 'said'),
    [
        (['train.py', CONFIG, '--work-dir', 'a'], 'work_dir=b', '--work-dir says it'),
        (['train.py', CONFIG, '--launcher', 'pytorch'], 'launcher=none', '--launcher says it'),
        (['train.py', CONFIG, '--resume', 'a.pth'], 'load_from=b', '--resume CHECKPOINT says it'),
        (['test.py', CONFIG, 'a.pth'], 'load_from=b', 'CHECKPOINT says it'),
        (['test.py', CONFIG, 'a.pth'], 'resume=True', 'a test does not resume'),
    ],
)
def test_a_setting_that_an_argument_says_is_refused(tmp_path, command, option, said):
    key = option.partition('=')[0]
    output = run(*command, '--cfg-options', option, cwd=tmp_path, code=2)
    assert f'{key} is among --cfg-options, and {said}: leave it out' in output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('command', 'said'),
    [
        (['cache_tokens.py', CONFIG, '--views', '2', '--out', 't', '--work-dir', 'w'], '--work-d'),
        (['fit_patch_components.py', CONFIG, '--out', 'p.npz', '--work-dir', 'w'], '--work-dir'),
        (['fit_patch_components.py', CONFIG, '--out', 'p.npz', '--launcher', 'mpi'], '--launcher'),
        (['check_images.py', 'photos', '--workers', '0'], "it is '0'; it must be a whole number"),
    ],
)
def test_an_argument_that_would_change_nothing_is_none(tmp_path, command, said):
    assert said in run(*command, cwd=tmp_path, code=2)


@pytest.mark.parametrize(
    ('command', 'said'),
    [
        (['test.py', CONFIG, 'a.pth', '--out', 'm.csv'], '--out is m.csv; it must end in one of'),
        (['evaluate_features.py', CONFIG, 'none', '--json', 'no/f.json'], 'no folder no'),
    ],
)
def test_a_file_that_cannot_be_written_is_told_before_the_work(tmp_path, command, said):
    assert said in run(*command, cwd=tmp_path, code=2)


def test_a_folder_and_a_start_by_options_alone_are_taken(images, tmp_path):
    """--resume without a checkpoint begins where there is none, with the weights of load_from."""
    start = DiscreteVAE(128, 32, 3, 1, 32, quantizer='vector')
    torch.save(dict(state_dict=start.state_dict()), tmp_path / 'start.pth')
    more = [f'load_from={tmp_path / "start.pth"}', f'work_dir={tmp_path / "b"}']
    run('train.py', CONFIG, '--resume', *options(images, *SHORT, *more), cwd=tmp_path)
    assert (tmp_path / 'b/iter_4.pth').is_file()


@pytest.mark.slow
def test_two_processes_train_and_test(images, tmp_path):
    work_dir = tmp_path / 'run'
    run('dist_train.sh', CONFIG, 2, '--work-dir', work_dir, *options(images, *SHORT), cwd=tmp_path)
    alone, together = tmp_path / 'alone.json', tmp_path / 'together.json'
    checkpoint = work_dir / 'iter_4.pth'
    run('test.py', CONFIG, checkpoint, '--work-dir', tmp_path / 'a', '--out', alone,
        *options(images), cwd=tmp_path)  # fmt: skip
    run('dist_test.sh', CONFIG, checkpoint, 2, '--work-dir', tmp_path / 'b', '--out', together,
        *options(images), cwd=tmp_path)  # fmt: skip
    assert json.loads(together.read_text()) == pytest.approx(json.loads(alone.read_text()))


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh'])
def test_a_script_without_arguments_says_how_to_use_it(script):
    result = subprocess.run([ROOT / 'tools' / script], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert f'tools/{script} ' in result.stderr


def test_slurm_script_passes_everything_on(tmp_path):
    """Against a stand-in for srun that prints its arguments."""
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(0o755)
    result = subprocess.run(
        [ROOT / 'tools/slurm_train.sh', 'gpu', 'beit', 'c.py', 'w', '--amp', '--resume'],
        env={**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'GPUS': '4',
             'GPUS_PER_NODE': '2', 'SRUN_ARGS': '--time=1 --quiet'},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    words = result.stdout.split()
    assert {'--partition=gpu', '--job-name=beit', '--ntasks=4', '--gres=gpu:2', '--time=1',
            '--quiet'} <= set(words)  # fmt: skip
    tail = words[words.index('c.py') :]
    assert tail == ['c.py', '--work-dir', 'w', '--launcher', 'slurm', '--amp', '--resume']
