"""How far a training is, in one line below what it prints; in a terminal alone."""

import contextlib
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from .stages import minutes

ERASE = '\r\x1b[K'
# Seconds between two writings, and how many of them the speed is an average over: half a minute.
EVERY, MARKS = 0.1, 300


class ProgressLine:
    """The last line of a terminal, out of the way of whatever else is printed.

    Args:
        out: The terminal.
    """

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.text = ''
        self.shown = False
        # Whether somebody has begun a line, and not ended it.
        self.within = False

    def show(self, text: str) -> None:
        """Write the line anew, cut to the width of the terminal."""
        try:
            width = os.get_terminal_size(self.out.fileno()).columns
        except (OSError, ValueError):
            width = 80
        self.text = text[: max(width - 1, 0)]
        if not self.within:
            self.out.write(ERASE + self.text)
            self.out.flush()
            self.shown = True

    def hide(self) -> None:
        """Take the line away."""
        if self.shown:
            self.out.write(ERASE)
            self.out.flush()
            self.shown = False

    @contextlib.contextmanager
    def below(self, logger: logging.Logger) -> Iterator[None]:
        """Stay below what this process, and a logger that it has, print meanwhile."""
        streams: dict[str, Any] = {'stdout': sys.stdout, 'stderr': sys.stderr}
        above = {name: Above(s, self) for name, s in streams.items() if s is not None and _tty(s)}
        handlers: list[tuple[Any, Any, Above]] = [
            (handler, stream, above[name])
            for name, stream in streams.items()
            for handler in logger.handlers
            if name in above and getattr(handler, 'stream', None) is stream
        ]
        for name, proxy in above.items():
            setattr(sys, name, proxy)
        for handler, _, proxy in handlers:
            handler.stream = proxy
        try:
            yield
        finally:
            self.hide()
            for name in above:
                setattr(sys, name, streams[name])
            for handler, stream, _ in handlers:
                handler.stream = stream


class Above:
    """A stream whose lines are printed above a :class:`ProgressLine`."""

    def __init__(self, stream: TextIO, line: ProgressLine) -> None:
        self.stream, self.line = stream, line

    def write(self, text: str) -> int:
        """Print, and write the line again below what is printed."""
        if not text:
            return 0
        self.line.hide()
        written = self.stream.write(text)
        self.line.within = not text.endswith('\n')
        if self.line.text and not self.line.within:
            self.stream.flush()
            self.line.show(self.line.text)
        return written

    def writelines(self, lines: Any) -> None:
        """Print all of them."""
        self.write(''.join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class ProgressHook(Hook):
    """Says how far a training is, ten times a second at most.

    The loss is the one that was logged last: to read another would make a GPU wait.

    Args:
        line: Where.
        clock: Tells seconds.
    """

    priority = 'LOWEST'

    def __init__(self, line: ProgressLine, clock: Callable[[], float] = time.monotonic) -> None:
        self.line, self.clock = line, clock
        self.marks: deque[tuple[float, int]] = deque(maxlen=MARKS)

    def before_train(self, runner: Runner) -> None:
        """The clock starts, behind what a start takes."""
        self.marks.append((self.clock(), runner.iter))

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Say how far it is."""
        now, done, of = self.clock(), runner.iter + 1, runner.max_iters
        if self.marks and now - self.marks[-1][0] < EVERY and done < of:
            return
        self.marks.append((now, done))
        began, first = self.marks[0]
        passed = now - began
        said = [f'{done}/{of}  {done / of:4.0%}']
        if 'train/loss' in runner.message_hub.log_scalars:
            said.append(f'loss {runner.message_hub.get_scalar("train/loss").current():.4f}')
        if passed > 0 and done > first:
            rate = (done - first) / passed
            said.append(f'{rate:.1f} it/s' if rate >= 1 else f'{1 / rate:.1f} s/it')
            said.append(f'{minutes((of - done) / rate)} left')
        self.line.show('  '.join(said))

    def after_val_iter(self, runner: Runner, batch_idx: int, *args: Any, **kwargs: Any) -> None:
        """Say how far validation is, whose time counts for no iteration's."""
        self.marks.clear()
        self.line.show(f'validation {batch_idx + 1}/{len(runner.val_dataloader)}')

    def after_val_epoch(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """The clock starts again."""
        self.marks.append((self.clock(), runner.iter))


def _tty(stream: Any) -> bool:
    return bool(getattr(stream, 'isatty', lambda: False)())


@contextlib.contextmanager
def progress_below(runner: Runner) -> Iterator[None]:
    """Show how far a training is, if somebody looks: in a terminal, on the main process.

    Args:
        runner: One that is about to train.
    """
    out = next((stream for stream in (sys.stdout, sys.stderr) if _tty(stream)), None)
    if out is None or not is_main_process() or os.environ.get('TERM') == 'dumb':
        yield
        return
    line = ProgressLine(out)
    runner.register_hook(ProgressHook(line), priority='LOWEST')
    with line.below(runner.logger):
        yield
