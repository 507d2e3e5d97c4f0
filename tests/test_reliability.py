"""Two processes that are stopped, killed and robbed of a loader worker, by the tools a user types.

What is left is held against an undisturbed run. The longer story, 25 kills at random moments, is
benchmarks/kills.py.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from beit_mm.checkpoints import read_checkpoint
from beit_mm.models import DiscreteVAE

ROOT = Path(__file__).parent.parent

# Writes down what each rank sees, and makes trouble where TROUBLE asks for it:
# launch:rank:iteration:what, launch being how often torchrun has started the job before.
PLUGIN = """
import json, os, signal, sys, time, zlib
from pathlib import Path
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class Trouble(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        seen = [
            (s.img_path, s.mask.int().tolist(), zlib.crc32(a.numpy().tobytes()))
            for s, a in zip(data_batch['data_samples'], data_batch['inputs'][0], strict=True)
        ]
        with open(f'{runner.work_dir}/seen_{runner.world_size}_{runner.rank}.json', 'a') as file:
            file.write(json.dumps([runner.iter, seen]) + '\\n')
        launch = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')
        for trouble in os.environ.get('TROUBLE', '').split():
            at = trouble.rpartition(':')[0]
            if at == f'{launch}:{runner.rank}:{runner.iter}':
                what = trouble.rpartition(':')[2]
                if what == 'worker':
                    worker = runner.train_loop.dataloader._iterator._workers[0]
                    os.kill(worker.pid, signal.SIGKILL)
                    time.sleep(1)
                elif what == 'wait':
                    Path(runner.work_dir, 'waits').touch()
                    time.sleep(3)
                else:
                    os.kill(os.getpid(), getattr(signal, what))
"""


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """24 pictures, a tokenizer, and a pre-training config of 12 iterations of 8 images."""
    root = tmp_path_factory.mktemp('reliability')
    rng = np.random.default_rng(0)
    (root / 'data' / 'train' / 'any').mkdir(parents=True)
    for index in range(24):
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / 'data' / 'train' / 'any' / f'{index}.png')
    cfg = Config.fromfile(ROOT / 'configs/quickstart/pretrain.py')
    tokenizer = {k: v for k, v in cfg.model.target_generator.tokenizer.items() if k != 'type'}
    torch.save(DiscreteVAE(**tokenizer).state_dict(), root / 'tokenizer.pth')
    (root / 'plugin.py').write_text(PLUGIN)
    (root / 'config.py').write_text(f"""
_base_ = ['{ROOT}/configs/quickstart/pretrain.py']
custom_imports = dict(imports=['beit_mm', 'plugin'])
model = dict(
    backbone=dict(drop_path_rate=0.3),
    target_generator=dict(checkpoint='{root}/tokenizer.pth'))
train_dataloader = dict(
    batch_size=4,
    sampler=dict(_delete_=True, type='DefaultSampler', shuffle=True),
    dataset=dict(data_root='{root}/data'))
val_dataloader = val_evaluator = val_cfg = None
train_cfg = dict(_delete_=True, by_epoch=True, max_epochs=4)
param_scheduler = dict(_delete_=True, type='LinearLR', start_factor=0.1, by_epoch=False, end=12)
custom_hooks = [dict(type='Trouble')]
default_hooks = dict(
    logger=dict(interval=1), checkpoint=dict(by_epoch=False, interval=2, max_keep_ckpts=2))
""")
    return root


@pytest.fixture(scope='module')
def few(root):
    """36 pictures and the recipe's global batch: 12 iterations, of which 128 would make a step."""
    for number, picture in enumerate(sorted((root / 'data/train/any').iterdir())):
        for copy in ('first', 'second')[: 1 + number % 2]:
            (root / 'few/train' / copy).mkdir(parents=True, exist_ok=True)
            shutil.copy(picture, root / 'few/train' / copy)
    (root / 'few.py').write_text(f"""
_base_ = ['{root}/config.py']
train_dataloader = dict(batch_size=8, dataset=dict(data_root='{root}/few'))
custom_hooks = [
    dict(type='beit_mm.GlobalBatchSizeHook', global_batch_size=2048), dict(type='Trouble')]
""")
    return root


def start(root, name, *arguments, processes=2, config='config.py', **variables) -> subprocess.Popen:
    """``tools/dist_train.sh``, or ``tools/train.py`` where ``processes`` is None."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        port = listener.getsockname()[1]
    environment = {
        **os.environ,
        'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
        'PYTHONPATH': f'{root}:{ROOT}',
        'OMP_NUM_THREADS': '1',
        'CUDA_VISIBLE_DEVICES': '',
        'PORT': str(port),
        **variables,
    }
    script = [ROOT / 'tools/dist_train.sh', root / config, processes]
    if processes is None:
        script = [sys.executable, ROOT / 'tools/train.py', root / config]
    command = [*script, '--work-dir', root / name, *arguments]
    return subprocess.Popen(
        list(map(str, command)), env=environment, cwd=root, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def run(*args, expected=0, **kwargs) -> str:
    job = start(*args, **kwargs)
    output, _ = job.communicate()
    assert job.returncode == expected, output[-40000:]
    return output


def seen(work_dir, processes) -> dict[int, list]:
    """What was seen in an iteration, all ranks together; of repeated ones the last."""
    iterations = {}
    for rank in range(processes):
        lines = (work_dir / f'seen_{processes}_{rank}.json').read_text().splitlines()
        for iteration, samples in dict(map(json.loads, lines)).items():
            iterations.setdefault(iteration, []).extend(samples)
    return {iteration: sorted(samples) for iteration, samples in iterations.items()}


def assert_same_end(one, other):
    left, right = (read_checkpoint(folder / 'iter_12.pth') for folder in (one, other))
    for name, tensor in left['state_dict'].items():
        assert torch.equal(tensor, right['state_dict'][name]), name
    states = [content['optimizer']['state'] for content in (left, right)]
    assert states[0].keys() == states[1].keys()
    for index, state in states[0].items():
        assert all(torch.equal(value, states[1][index][key]) for key, value in state.items())
    assert left['param_schedulers'] == right['param_schedulers']
    logs = [content['message_hub']['log_scalars']['train/loss'] for content in (left, right)]
    assert logs[0]._log_history.tolist() == logs[1]._log_history.tolist()
    assert not list(other.glob('.*'))


@pytest.fixture(scope='module')
def undisturbed(root):
    run(root, 'undisturbed')
    return root / 'undisturbed'


@pytest.mark.slow
def test_a_killed_rank_and_a_dead_loader_worker_cost_nothing_but_time(root, undisturbed):
    """torchrun starts the job again, twice, and it goes on by itself."""
    output = run(root, 'restarts', TROUBLE='0:1:5:SIGKILL 1:0:8:worker', MAX_RESTARTS='2')
    # Each cause is on screen.
    assert '(exitcode: -9) local_rank: 1' in output
    assert 'DataLoader worker' in output
    assert_same_end(undisturbed, root / 'restarts')
    assert seen(undisturbed, 2) == seen(root / 'restarts', 2)


@pytest.fixture(scope='module')
def stopped(root):
    """A run of which one rank got a signal in its seventh iteration, and its output."""
    return root / 'stopped', run(root, 'stopped', TROUBLE='0:1:6:SIGUSR1', expected=1)


def copy_of(work_dir, name):
    """The same run in another folder, where it can be gone on with."""
    copy = shutil.copytree(work_dir, work_dir.parent / name)
    newest = Path((copy / 'last_checkpoint').read_text())
    (copy / 'last_checkpoint').write_text(str(copy / newest.name))
    return copy


@pytest.mark.slow
def test_a_signal_to_one_rank_stops_all_after_the_same_step(root, undisturbed, stopped):
    work_dir, output = stopped
    assert 'after iteration 7' in output
    assert 'exitcode  : 85' in output
    assert (work_dir / 'last_checkpoint').read_text() == str(work_dir / 'iter_7.pth')
    again = copy_of(work_dir, 'again')
    run(root, 'again', '--resume')
    assert_same_end(undisturbed, again)


@pytest.mark.slow
def test_on_another_number_of_processes_photos_crops_and_masks_stay(root, undisturbed, stopped):
    """After the stop above, in one process with the whole batch."""
    work_dir = copy_of(stopped[0], 'fewer')
    options = ['--cfg-options', 'train_dataloader.batch_size=8']
    output = run(root, 'fewer', '--resume', *options, processes=None)
    assert '2 process(es) before, 1 now' in output
    expected = seen(undisturbed, 2)
    assert seen(work_dir, 1) == {iteration: expected[iteration] for iteration in range(7, 12)}


@pytest.mark.slow
def test_a_kill_between_two_steps_of_the_optimizer_costs_nothing_but_time(few):
    """torchrun starts the job again; the ranks' gradients differ until the step."""
    output = run(few, 'few_undisturbed', config='few.py')
    assert 'WARNING - The weights change once in this run, every 128 iterations' in output
    trouble = '0:1:7:SIGKILL'
    output = run(few, 'few_stopped', config='few.py', TROUBLE=trouble, MAX_RESTARTS='1')
    assert '(exitcode: -9) local_rank: 1' in output
    assert 'gradients of the 6 iteration(s) since the last step: they count on' in output
    assert_same_end(few / 'few_undisturbed', few / 'few_stopped')


@pytest.mark.slow
def test_a_signal_to_the_script_asks_for_another_run(root):
    """As a machine's manager sends it: to the first process alone."""
    job = start(root, 'script', processes=1, TROUBLE='0:0:5:wait')
    while not (root / 'script/waits').exists():
        assert job.poll() is None, job.communicate()[0][-4000:]
        time.sleep(0.05)
    job.send_signal(signal.SIGUSR1)
    output, _ = job.communicate()
    assert job.returncode == 85, output[-40000:]
    assert 'Stopped by signal 15' in output
    saved = Path((root / 'script/last_checkpoint').read_text())
    assert read_checkpoint(saved)['meta']['iter'] >= 6


@pytest.mark.parametrize(('code', 'requeued'), [(85, True), (1, False), (0, False)])
@pytest.mark.parametrize('job', ['4711', ''])
def test_slurm_queues_the_job_again_when_it_asks_for_it(tmp_path, code, requeued, job):
    """Against stand-ins for srun and scontrol."""
    (tmp_path / 'srun').write_text(f'#!/bin/sh\necho "$@"\nexit {code}\n')
    (tmp_path / 'scontrol').write_text('#!/bin/sh\necho scontrol "$@"\n')
    for name in ('srun', 'scontrol'):
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'SLURM_JOB_ID': job}
    result = subprocess.run(
        [ROOT / 'tools/slurm_train.sh', 'gpu', 'beit', 'c.py', 'w'],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == code
    assert '--signal=USR1@120' in result.stdout
    assert ('scontrol requeue 4711' in result.stdout) == (requeued and bool(job))
