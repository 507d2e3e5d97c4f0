"""Loader workers that end with the process they load for: not before it, and not long after."""

import ctypes
import multiprocessing
import os
import re
import signal
import sys
import threading
from pathlib import Path

from ..registry import FUNCTIONS

# Slurm sends SIGUSR1 some time before the limit (--signal=USR1@120), and SIGTERM as torchrun and
# container managers do when a machine is taken away.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
# Of <linux/prctl.h>.
PR_SET_PDEATHSIG = 1
# Seconds between two looks at the parent, where the kernel does not tell of its death.
INTERVAL = 1


@FUNCTIONS.register_module()
def outlive_group_signals(_worker_id: int) -> None:
    """Tie a loader worker to the process that it loads for; ``worker_init_fn`` of a loader.

    torchrun and Slurm send signals to whole process groups. A worker that ended at once would take
    the run with it, before that has saved: SIGTERM and SIGUSR1 are handed on to the process that
    trains, which saves and ends its workers. If it would not save, the signal ends the worker.

    However that process ends, by SIGKILL too, the worker does within seconds. Left to
    multiprocessing it would wait, as long as the machine is up, for somebody to read the samples
    that it has sent, and hold the memory and the terminal of the run.

    Raises:
        RuntimeError: If this is no process that :mod:`multiprocessing` has started.
    """
    trainer = multiprocessing.parent_process()
    if trainer is None or trainer.pid is None:
        raise RuntimeError('outlive_group_signals is called in a process that no other has started')
    number, parent = trainer.pid, os.getppid()
    # Not SIGTERM: the worker may be in the middle of something that does not listen.
    die_with_parent(signal.SIGKILL)
    # Blocked in this thread and in those begun after it, the signals wait to be asked for.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)

    def watch() -> None:
        # The parent of a worker that was orphaned in its start, or by a fork server, is another.
        while os.getppid() == parent and (parent == number or trainer.is_alive()):
            received = signal.sigtimedwait(STOP_SIGNALS, INTERVAL)
            if received is None:
                continue
            if received.si_pid == number:
                break
            if not _is_caught(number, received.si_signo):
                os._exit(128 + received.si_signo)
            os.kill(number, received.si_signo)
        # Nothing is waited for, as sys.exit would: nobody may be there to read what was sent.
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def die_with_parent(number: int) -> None:
    """Have Linux send this process a signal when the thread that started it ends."""
    if sys.platform == 'linux':
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def _is_caught(process: int, number: int) -> bool:
    """Whether a process has a handler for a signal, which would not end it then."""
    try:
        status = Path(f'/proc/{process}/status').read_text()
    except OSError:
        return False
    caught = re.search(r'^SigCgt:\s*(\w+)', status, re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)
