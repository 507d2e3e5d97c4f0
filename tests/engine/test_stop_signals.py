"""Signals that ask a run to save and end."""

import os
import signal

from beit_mm.engine.running.stop_signals import STOP_SIGNALS, StopSignals


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
