"""Signals that ask a run to save and end."""

import os
import signal

from beit_mm.engine.running.stop_signals import StopSignals


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
