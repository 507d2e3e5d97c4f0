"""Stop signals, heard by any process and agreed on by all."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce

from ...datasets.loader_workers import STOP_SIGNALS, die_with_parent

# The exit code that asks a scheduler to run the job again. No shell, Python or signal uses it.
REQUEUE = 85
# The variable by which a process knows that it is a stage of a command.
STAGE = 'BEIT_MM_STAGE'


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
            # None stands for one that is not Python's, which cannot be put back.
            signal.signal(number, handler or signal.SIG_DFL)
        self.previous = {}

    def agreed(self) -> int:
        """The signal that any process has received, or 0; every process must ask.

        One whole number goes round. Its value is needed at once, which on a GPU waits for the
        step; where gradients are clipped the host has waited for their norm already.
        """
        number = torch.tensor(self.received)
        all_reduce(number, 'max')
        return int(number)


def end_with_launcher() -> None:
    """Have Linux send SIGTERM to this process when torchrun or a command that started it is killed.

    A rank without torchrun would train on and write where the job that is run again writes, or
    wait half an hour for the other ranks.
    """
    is_rank = 'TORCHELASTIC_RUN_ID' in os.environ
    if sys.platform != 'linux' or not (is_rank or STAGE in os.environ):
        return
    die_with_parent(signal.SIGTERM)
    # It may be gone already. In a container torchrun can be process 1 itself.
    if is_rank and os.getppid() == 1 and b'torch' not in Path('/proc/1/cmdline').read_bytes():
        sys.exit('torchrun, which started this process, is gone')


def restarted() -> bool:
    """Whether torchrun or Slurm has started this job before."""
    counts = (os.environ.get(f'{name}_RESTART_COUNT', '0') for name in ('TORCHELASTIC', 'SLURM'))
    return any(int(count) > 0 for count in counts)
