"""Loader workers and the signals that are sent to whole process groups."""

import os
import signal
import subprocess
import time

from mmengine.runner import Runner
from noisy_run import Noisy

from beit_mm.engine.running.exact_resume import placed_dataloader
from beit_mm.engine.running.stop_signals import StopSignals


def test_a_worker_outlives_a_signal_to_its_group_and_ends_when_its_owner_says_so():
    loader = dict(
        dataset=Noisy(),
        batch_size=2,
        num_workers=2,
        persistent_workers=True,
        sampler=dict(type='DefaultSampler', shuffle=False),
        collate_fn=dict(type='default_collate'),
    )
    batches = iter(Runner.build_dataloader(placed_dataloader(loader), seed=0))
    # A batch of each: both have begun, and decided what to do about signals.
    next(batches)
    next(batches)
    pids = [str(worker.pid) for worker in batches._workers]
    # From another process, as torchrun sends it.
    subprocess.run(['kill', '-TERM', *pids], check=True)
    time.sleep(0.5)
    assert len(list(batches)) == 9
    assert all(worker.is_alive() for worker in batches._workers)
    for worker in batches._workers:
        worker.terminate()
        worker.join(timeout=10)
        assert worker.exitcode == 0


def test_signals_are_remembered_and_then_left_alone():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    signals = StopSignals()
    signals.listen()
    try:
        assert signals.agreed() == 0
        os.kill(os.getpid(), signal.SIGUSR1)
        assert signals.agreed() == signal.SIGUSR1
    finally:
        signals.ignore_no_longer()
    assert before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
