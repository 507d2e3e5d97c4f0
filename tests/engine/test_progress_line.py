"""The line below a training: what a terminal shows, and what a file does not."""

import io
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.logging import HistoryBuffer
from toy_run import make_photos, write_config

from beit_mm.engine.starting import progress_line
from beit_mm.engine.starting.progress_line import ProgressHook, ProgressLine, progress_below

ROOT = Path(__file__).parent.parent.parent
LOGGED = re.compile(r'\d\d/\d\d \d\d:\d\d:\d\d - mmengine - .*')


class Terminal(io.StringIO):
    def isatty(self):
        return True


def screen(text):
    """What a terminal without an edge shows: it knows a return, a new line and 'erase'."""
    lines, column = [''], 0
    for part in re.split(r'(\x1b\[[0-9;]*[A-Za-z]|\r|\n)', text):
        if part == '\n':
            lines, column = [*lines, ''], 0
        elif part == '\r':
            column = 0
        elif part == '\x1b[K':
            lines[-1] = lines[-1][:column]
        elif part and not part.startswith('\x1b'):
            lines[-1] = lines[-1][:column] + part + lines[-1][column + len(part) :]
            column += len(part)
    return lines


def test_what_is_printed_stands_above_the_line_in_whole_lines(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, 'stdout', terminal)
    monkeypatch.setattr(sys, 'stderr', terminal)
    logger = logging.Logger('a run')
    logger.addHandler(logging.StreamHandler(terminal))
    line = ProgressLine(terminal)
    with line.below(logger):
        print('before')
        line.show('1/10')
        print('of two', 'words')
        assert screen(terminal.getvalue()) == ['before', 'of two words', '1/10']
        line.show('2/10')
        logger.warning('logged')
        print('begun, ', end='')
        line.show('3/10')
        assert screen(terminal.getvalue())[2:] == ['logged', 'begun, ']
        print('ended', file=sys.stderr)
        sys.stdout.writelines(['one\n', 'two\n'])
        assert screen(terminal.getvalue())[3:] == ['begun, ended', 'one', 'two', '3/10']
        line.show('a line that is shorter'[:5])
        assert screen(terminal.getvalue())[-1] == 'a lin'
    assert screen(terminal.getvalue())[-2:] == ['two', '']
    assert sys.stdout is sys.stderr is terminal
    logger.warning('after')
    assert screen(terminal.getvalue())[-2:] == ['after', '']
    assert logger.handlers[0].stream is terminal


def test_a_line_is_no_wider_than_the_terminal(monkeypatch):
    terminal = Terminal()
    line = ProgressLine(terminal)
    line.show('x' * 200)
    assert screen(terminal.getvalue()) == ['x' * 79]
    monkeypatch.setattr(terminal, 'fileno', lambda: 1)
    monkeypatch.setattr(os, 'get_terminal_size', lambda number: os.terminal_size((20, 5)))
    line.show('y' * 200)
    assert screen(terminal.getvalue()) == ['y' * 19]


def test_speed_and_time_left_are_those_of_the_clock():
    """2 iterations a second, and a validation of an hour that is no iteration's."""
    terminal = Terminal()
    now = [100.0]
    hub = SimpleNamespace(log_scalars={}, get_scalar=lambda name: HistoryBuffer([3.25], [1]))
    runner = SimpleNamespace(iter=20, max_iters=120, message_hub=hub, val_dataloader=[1, 2, 3])
    hook = ProgressHook(ProgressLine(terminal), lambda: now[0])
    hook.before_train(runner)

    def step(seconds):
        now[0] += seconds
        hook.after_train_iter(runner, 0)
        runner.iter += 1
        return screen(terminal.getvalue())[-1]

    assert step(0.5) == '21/120   18%  2.0 it/s  0:50 left'
    hub.log_scalars['train/loss'] = 1
    assert step(0.5) == '22/120   18%  loss 3.2500  2.0 it/s  0:49 left'
    now[0] += 3600
    hook.after_val_iter(runner, 1)
    assert screen(terminal.getvalue()) == ['validation 2/3']
    hook.after_val_epoch(runner)
    assert step(4) == '23/120   19%  loss 3.2500  4.0 s/it  6:28 left'
    assert step(progress_line.EVERY / 2) == '23/120   19%  loss 3.2500  4.0 s/it  6:28 left'


@pytest.mark.parametrize(('term', 'stream'), [('dumb', Terminal), ('xterm', io.StringIO)])
def test_where_nobody_looks_nothing_changes(term, stream, monkeypatch):
    monkeypatch.setenv('TERM', term)
    out = stream()
    monkeypatch.setattr(sys, 'stdout', out)
    monkeypatch.setattr(sys, 'stderr', io.StringIO())
    with progress_below(SimpleNamespace()):
        assert sys.stdout is out
    assert out.getvalue() == ''


def in_a_terminal(command, **settings):
    """All that a command writes to a terminal that is 200 columns wide."""
    import fcntl
    import struct
    import termios

    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 50, 200, 0, 0))
    with subprocess.Popen(command, stdout=slave, stderr=slave, **settings) as process:
        os.close(slave)
        written = b''
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # Linux' end of a terminal
                break
            if not part:
                break
            written += part
    os.close(master)
    return process.returncode, written.decode().replace('\r\n', '\n')


def test_a_run_in_a_terminal(tmp_path):
    pytest.importorskip('termios')
    make_photos(tmp_path)
    code, written = in_a_terminal(
        [sys.executable, ROOT / 'tools/train.py', write_config(tmp_path),
         '--work-dir', tmp_path / 'run',
         '--cfg-options', 'train_cfg.max_iters=6', 'default_hooks.logger.interval=2'],
        cwd=tmp_path,
        env={**os.environ, 'OMP_NUM_THREADS': '1', 'TERM': 'xterm'},
    )  # fmt: skip
    assert code == 0, written[-3000:]
    assert re.search(r'\r\x1b\[K6/6  100%  loss \d\.\d{4}  \d+\.\d it/s  0:00 left', written)
    assert '\r\x1b[Kvalidation 1/1' in written
    shown = screen(written)
    assert not any('it/s' in line or 'validation 1' in line for line in shown), 'it is gone'
    (log,) = (tmp_path / 'run').glob('*/*.log')
    text = log.read_text()
    assert 'it/s' not in text
    assert '\x1b' not in text
    # Each line of training is on the screen as it is in the file, but for the date's year.
    trained = [line[5:] for line in text.splitlines() if 'Iter(' in line]
    assert len(trained) >= 4
    assert [line for line in shown if 'Iter(' in line] == trained
