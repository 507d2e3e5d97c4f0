"""Signals that ask a run to save and end."""

import os
import select
import signal
import sys
import time
from types import SimpleNamespace

import pytest

from beit_mm.engine.running import stop_signals
from beit_mm.engine.running.stop_signals import (
    STAGE,
    STOP_SIGNALS,
    StopSignals,
    end_with_launcher,
)

RANK = 'TORCHELASTIC_RUN_ID'


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


def test_a_handler_that_is_not_pythons_leaves_signals_that_end_the_process():
    """Python has None in its place, and cannot put it back."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    signals = StopSignals()
    signals.listen()
    try:
        signals.previous[signal.SIGUSR1] = None
        signals.ignore_no_longer()
        assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGTERM) == before[signal.SIGTERM]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.skipif(sys.platform != 'linux', reason='Linux tells a process of its parent')
@pytest.mark.parametrize('variable', [RANK, STAGE])
def test_a_process_whose_launcher_is_killed_is_told_to_save(monkeypatch, variable):
    monkeypatch.delenv(RANK, raising=False)
    monkeypatch.setenv(variable, '1')
    reader, writer = os.pipe()
    launcher = os.fork()
    if not launcher:
        try:
            if not os.fork():
                signal.signal(signal.SIGTERM, lambda *_: os._exit(os.write(writer, b'told')))
                end_with_launcher()
                os.write(writer, b'ready')
            time.sleep(60)
        finally:
            os._exit(1)
    os.close(writer)
    assert os.read(reader, 9) == b'ready'
    os.kill(launcher, signal.SIGKILL)
    os.waitpid(launcher, 0)
    assert select.select([reader], [], [], 30)[0], 'nothing is heard of the process'
    assert os.read(reader, 9) == b'told'
    os.close(reader)


@pytest.mark.skipif(sys.platform != 'linux', reason='Linux tells a process of its parent')
@pytest.mark.parametrize(
    ('variable', 'first', 'ends'),
    [(RANK, b'/sbin/init', True), (RANK, b'torchrun', False), (STAGE, b'/sbin/init', False)],
)
def test_a_rank_whose_launcher_was_gone_before_ends(monkeypatch, variable, first, ends):
    asked = []
    monkeypatch.delenv(RANK, raising=False)
    monkeypatch.delenv(STAGE, raising=False)
    monkeypatch.setattr(stop_signals, 'die_with_parent', asked.append)
    monkeypatch.setattr(stop_signals, 'Path', lambda _: SimpleNamespace(read_bytes=lambda: first))
    monkeypatch.setattr(os, 'getppid', lambda: 1)
    # What neither torchrun nor a command has started lives on without who started it.
    end_with_launcher()
    assert not asked
    monkeypatch.setenv(variable, '1')
    if ends:
        with pytest.raises(SystemExit, match='torchrun, which started this process, is gone'):
            end_with_launcher()
    else:
        end_with_launcher()
    assert asked == [signal.SIGTERM]
