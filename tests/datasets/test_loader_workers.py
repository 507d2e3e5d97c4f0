"""Loader workers whose run is signalled, or gone."""

import contextlib
import signal
import subprocess
import sys
import time

import pytest
from mmengine.runner import Runner

from beit_mm.engine.running.exact_resume import placed_dataloader
from beit_mm.engine.running.stop_signals import StopSignals

# Loads samples that no pipe holds, never takes the second batch, and is killed.
TRAINER = """
import fcntl, os, signal, sys, termios, time
import torch
from mmengine.runner import Runner
from beit_mm.engine.running.exact_resume import placed_dataloader

class Large:
    def __len__(self):
        return 1000
    def __getitem__(self, index):
        return bytes(100_000)

if __name__ == '__main__':
    torch.multiprocessing.set_start_method(sys.argv[1])
    loader = dict(
        dataset=Large(), batch_size=2, num_workers=2, persistent_workers=True,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='pseudo_collate'),
    )
    batches = iter(Runner.build_dataloader(placed_dataloader(loader), seed=0))
    if sys.argv[2] == 'full pipes':
        next(batches)
        pipe, waiting = batches._worker_result_queue._reader.fileno(), 0
        while waiting < 50_000:
            time.sleep(0.05)
            waiting = int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)
    print('ready', flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ('method', 'when'),
    [('fork', 'full pipes'), ('spawn', 'full pipes'), ('spawn', 'its start')],
)
def test_workers_end_with_a_trainer_that_is_killed(tmp_path, method, when):
    """Standard output ends when the last process that holds it does: what ``| tee`` waits for."""
    script = tmp_path / 'trainer.py'
    script.write_text(TRAINER)
    trainer = subprocess.Popen(
        [sys.executable, script, method, when],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert trainer.stdout.readline() == 'ready\n'
    assert trainer.wait() == -signal.SIGKILL
    # A worker that was being started has its imports to do first.
    trainer.communicate(timeout=60 if when == 'its start' else 10)


def two_workers():
    """Batches, of which both workers have sent one: they have decided what to do of signals."""
    loader = dict(
        dataset=[dict(inputs=number) for number in range(22)],
        batch_size=2,
        num_workers=2,
        persistent_workers=True,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )
    batches = iter(Runner.build_dataloader(placed_dataloader(loader), seed=0))
    next(batches)
    next(batches)
    return batches, batches._workers


def kill(name, *workers):
    """From another process, as torchrun sends it."""
    subprocess.run(['kill', f'-{name}', *(str(w.pid) for w in workers)], check=True)


@pytest.mark.parametrize('name', ['TERM', 'USR1'])
def test_a_worker_hands_a_signal_on_to_a_trainer_that_saves(name):
    signals = StopSignals()
    signals.listen()
    try:
        batches, workers = two_workers()
        kill(name, workers[1])
        limit = time.monotonic() + 10
        while not signals.agreed() and time.monotonic() < limit:
            time.sleep(0.05)
        assert signals.agreed() == getattr(signal, f'SIG{name}')
        # Until it has saved it gets what it asks for.
        assert len(list(batches)) == 9
        for worker in workers:
            worker.terminate()
            worker.join(timeout=10)
            assert worker.exitcode == 0
    finally:
        signals.ignore_no_longer()


@pytest.fixture
def deaf():
    """No handler in this process, whatever a test has left: a worker would hand on to it."""
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures('deaf')
def test_a_signal_ends_a_worker_whose_trainer_does_not_listen():
    batches, workers = two_workers()

    def signal_and_load():
        kill('TERM', workers[1])
        workers[1].join(timeout=10)
        list(batches)

    # PyTorch raises it in whatever this process does when it is told of the death.
    with contextlib.suppress(RuntimeError):
        signal_and_load()
    workers[1].join(timeout=10)
    assert workers[1].exitcode == 128 + signal.SIGTERM
    workers[0].terminate()
