"""Stop signals, heard by any process and agreed on by all."""

import ctypes
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce

from ...registry import FUNCTIONS

# Slurm sends SIGUSR1 some time before the limit (--signal=USR1@120), and SIGTERM as torchrun and
# container managers do when a machine is taken away.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
# The exit code that asks a scheduler to run the job again. No shell, Python or signal uses it.
REQUEUE = 85
# Of <linux/prctl.h>.
PR_SET_PDEATHSIG = 1


class StopSignals:
    """Remembers that a stop signal came, instead of ending the process."""

    def __init__(self) -> None:
        self.received = 0
        self.previous: dict[int, Any] = {}

    def listen(self) -> None:
        """Begin; in the process that trains, not in the loader workers that it starts."""
        owner = os.getpid()

        def remember(number: int, _frame) -> None:
            if os.getpid() == owner:
                self.received = number

        self.previous = {number: signal.signal(number, remember) for number in STOP_SIGNALS}

    def ignore_no_longer(self) -> None:
        """Let the signals do what they did before."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def agreed(self) -> int:
        """The signal that any process has received, or 0; every process must ask.

        One whole number goes round. Its value is needed at once, which on a GPU waits for the
        step; where gradients are clipped the host has waited for their norm already.
        """
        number = torch.tensor(self.received)
        all_reduce(number, 'max')
        return int(number)


@FUNCTIONS.register_module()
def outlive_group_signals(_worker_id: int) -> None:
    """Let SIGTERM end a loader worker only if the process that trains sends it.

    torchrun and Slurm send it to whole process groups. A worker that ended at once would take the
    run with it, before that has saved.
    """
    parent = os.getppid()
    # Blocked in this thread and in those begun after it, the signal waits to be asked for.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait_for_parents() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
            pass
        os._exit(0)

    threading.Thread(target=wait_for_parents, daemon=True).start()


def end_with_launcher() -> None:
    """Have Linux send SIGTERM to this process when torchrun, which started it, is killed.

    A rank without torchrun would train on and write where the job that is run again writes, or
    wait half an hour for the other ranks.
    """
    if 'TORCHELASTIC_RUN_ID' not in os.environ or sys.platform != 'linux':
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    # It may be gone already. In a container torchrun can be process 1 itself.
    if os.getppid() == 1 and b'torch' not in Path('/proc/1/cmdline').read_bytes():
        sys.exit('torchrun, which started this process, is gone')


def restarted() -> bool:
    """Whether torchrun or Slurm has started this job before."""
    counts = (os.environ.get(f'{name}_RESTART_COUNT', '0') for name in ('TORCHELASTIC', 'SLURM'))
    return any(int(count) > 0 for count in counts)
