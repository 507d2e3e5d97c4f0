"""Several runs of tools/train.py in a row: a line of progress each, and the time that is left."""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

from ..running.image_changes import FILE as IMAGE_CHANGES
from ..running.stop_signals import STAGE
from ..running.whole_checkpoints import last_checkpoint

TRAINING = re.compile(r'Iter\(train\)\s*\[\s*(\d+)/(\d+)\]')
# Seconds between two looks at a stage's log.
EVERY = 0.5


class Stage(NamedTuple):
    """A run that is to come.

    Attributes:
        title: What it does, for the line of progress.
        config: Its config file.
        seconds: What it took where it was measured; only the ratio to the others counts.
    """

    title: str
    config: Path
    seconds: float


class Progress:
    """One line for each of several stages; on a terminal it says how far the stage is.

    Args:
        stages: All of them, in order.
        out: Where the lines go.
    """

    def __init__(self, stages: Sequence[Stage], out: TextIO | None = None) -> None:
        self.stages = list(stages)
        self.out = out or sys.stdout
        self.start = self.stage_start = time.monotonic()
        self.index = 0

    def begin(self) -> None:
        """The next stage begins."""
        self.stage_start = time.monotonic()
        self._write(self._name())

    def at(self, share: float) -> None:
        """So much of the stage's training is done, in [0, 1]."""
        seconds = [stage.seconds for stage in self.stages]
        left = time_left(seconds, self.index, share, time.monotonic() - self.start)
        if left is not None and self.rewrites:
            self._write(f'\r\x1b[K{self._name()}{share:4.0%}, about {minutes(left)} left in all')

    def end(self) -> None:
        """The stage is done."""
        again = f'\r\x1b[K{self._name()}' if self.rewrites else ''
        self._write(f'{again}{minutes(time.monotonic() - self.stage_start)}\n')
        self.index += 1

    @property
    def rewrites(self) -> bool:
        """Whether a line can be written anew."""
        return self.out.isatty()

    def _name(self) -> str:
        width = max(len(stage.title) for stage in self.stages)
        title = self.stages[self.index].title
        return f'[{self.index + 1}/{len(self.stages)}] {title:{width}}  '

    def _write(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()


def time_left(seconds: Sequence[float], index: int, share: float, passed: float) -> float | None:
    """Seconds to the end of all stages, None where nothing is known yet.

    The stages are taken to keep their ratios: what has passed tells how fast this machine is.

    Args:
        seconds: Of each stage, as measured elsewhere.
        index: Of the stage that is running.
        share: Of it that is done, in [0, 1].
        passed: Seconds since the first began.

    >>> time_left([10, 30], index=1, share=0.5, passed=50)
    30.0
    """
    done = sum(seconds[:index]) + share * seconds[index]
    return (sum(seconds) - done) * passed / done if done > 0 else None


def minutes(seconds: float) -> str:
    """A duration as people write it.

    >>> minutes(75), minutes(3675)
    ('1:15', '1:01:15')
    """
    hours, rest = divmod(round(seconds), 3600)
    return f'{hours}:{rest // 60:02}:{rest % 60:02}' if hours else f'{rest // 60}:{rest % 60:02}'


def share_done(log: str) -> float | None:
    """How much of a training is done, by the last line of its log that counts iterations.

    >>> share_done('... - Iter(train) [ 500/2000]  lr: 2.7e-03')
    0.25
    """
    found = TRAINING.findall(log)
    return int(found[-1][0]) / int(found[-1][1]) if found else None


def run_stage(
    stage: Stage,
    train: Path,
    work_dir: Path,
    options: Mapping,
    progress: Progress,
    environment: Mapping[str, str],
    arguments: Sequence[str] = (),
    processes: int = 1,
) -> Path:
    """Run a stage as a user would, with its log in ``work_dir/output.txt``.

    Args:
        stage: Which.
        train: tools/train.py.
        work_dir: For its logs and checkpoints; the first line of the log is the command.
        options: Of ``--cfg-options``.
        progress: Is told how far it is.
        environment: Variables beside those of this process, which win.
        arguments: Others of tools/train.py, such as ``--resume``.
        processes: One a GPU; torchrun starts more than one.

    Returns:
        Its last checkpoint.

    Raises:
        SystemExit: If it fails, with the end of its log.
    """
    command = [sys.executable, str(train), str(stage.config), '--work-dir', str(work_dir)]
    if processes > 1:
        torchrun = ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={processes}']
        command = [sys.executable, *torchrun, *command[1:], '--launcher', 'pytorch']
    command += arguments
    if options:
        command += ['--cfg-options', *(f'{key}={value}' for key, value in options.items())]
    work_dir.mkdir(parents=True, exist_ok=True)
    log = work_dir / 'output.txt'
    progress.begin()
    with log.open('a' if '--resume' in arguments else 'w') as output:
        output.write(shlex.join(command) + '\n')
        output.flush()
        code = _watch(command, output, log, progress, {**environment, **os.environ})
    if code:
        tail = log.read_text().splitlines()[-15:]
        sys.exit('\n'.join(['', *tail, f'{stage.title}: stopped; all of its log is in {log}']))
    progress.end()
    return last_checkpoint(work_dir)


def _watch(
    command: list[str], output: TextIO, log: Path, progress: Progress, environment: dict[str, str]
) -> int:
    """Run a command to its end, and say how far its log is; return its exit status.

    Whatever ends this process, Ctrl-C too, has the command save what it has and end.
    """
    environment[STAGE] = '1'
    with subprocess.Popen(
        command, stdout=output, stderr=output, env=environment, start_new_session=True
    ) as process:
        try:
            while process.poll() is None:
                share = share_done(log.read_text(errors='replace')) if progress.rewrites else None
                if share is not None:
                    progress.at(share)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(EVERY)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    return process.returncode


def changes_of_images(work_dir: Path) -> list[str]:
    """What reading has changed in the images of a run that is done, a line each."""
    file = work_dir / IMAGE_CHANGES
    if not file.is_file():
        return []
    told = json.loads(file.read_text())
    return [
        f'changed as images are read: {change}, {count} of {told["images"]} drawn'
        for change, count in told['changes'].items()
    ]
