"""Runs in a row: one line each, the time that is left, and what a failure says."""

import io
import re
import sys
from pathlib import Path

import pytest

from beit_mm.engine.starting import stages
from beit_mm.engine.starting.stages import (
    Progress,
    Stage,
    minutes,
    run_stage,
    share_done,
    time_left,
)

STAGES = [Stage('First', Path('first.py'), 30), Stage('Second one', Path('second.py'), 10)]
# Stands in for tools/train.py: logs as mmengine does and leaves a checkpoint's name.
TRAIN = """
import os, pathlib, sys, time
folder = pathlib.Path(sys.argv[sys.argv.index('--work-dir') + 1])
for done in range(1, 5):
    print(f'11/27 03:27:09 - mmengine - INFO - Iter(train) [{done:3d}/4]  lr: 1e-3', flush=True)
    time.sleep(0.05)
print(os.environ['OMP_NUM_THREADS'], file=sys.stderr)
if 'broken=1' in sys.argv:
    sys.exit('it broke')
(folder / 'last_checkpoint').write_text('iter_4.pth')
"""


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def train(tmp_path, monkeypatch):
    path = tmp_path / 'train.py'
    path.write_text(TRAIN)
    monkeypatch.setattr(stages, 'EVERY', 0.02)

    def run(progress, stage=STAGES[0], **options):
        folder = tmp_path / stage.config.stem
        environment = {'OMP_NUM_THREADS': '1'}
        return run_stage(stage, path, folder, options, progress, environment)

    return run


@pytest.mark.parametrize('out', [io.StringIO, Terminal])
def test_a_line_each(train, tmp_path, out):
    progress = Progress(STAGES, out())
    assert train(progress) == Path('iter_4.pth')
    train(progress, STAGES[1])
    written = progress.out.getvalue()
    # A terminal shows of a line what was written last.
    lines = [line.rpartition('\x1b[K')[2] for line in written.strip('\n').split('\n')]
    assert [line[:-4] for line in lines] == ['[1/2] First       ', '[2/2] Second one  ']
    assert all(re.fullmatch(r'\d:\d\d', line[-4:]) for line in lines)
    assert (' left in all' in written) == (out is Terminal)
    log = (tmp_path / 'first/output.txt').read_text().splitlines()
    assert log[0].startswith(sys.executable)
    assert log[0].endswith('first')
    assert len(log) == 6


def test_a_failure_ends_with_the_end_of_its_log(train, tmp_path):
    with pytest.raises(SystemExit) as stop:
        train(Progress(STAGES, io.StringIO()), broken=1)
    lines = str(stop.value).splitlines()
    assert lines[-2:] == [
        'it broke',
        f'First: stopped; all of its log is in {tmp_path}/first/output.txt',
    ]


@pytest.mark.parametrize('slowness', [0.5, 1, 7])
def test_time_left_is_right_where_stages_keep_their_ratios(slowness):
    seconds = [30, 90, 20]
    for index, share in ((0, 0.1), (0, 1.0), (1, 0.5), (2, 0.25)):
        passed = slowness * (sum(seconds[:index]) + share * seconds[index])
        left = time_left(seconds, index, share, passed)
        assert passed + left == pytest.approx(slowness * sum(seconds))
    assert time_left(seconds, 0, 0.0, 5.0) is None
    assert time_left(seconds, 2, 1.0, 77.0) == 0


def test_share_and_minutes():
    assert share_done('Iter(train) [  50/2000] x\nIter(train) [ 100/2000]  lr') == 0.05
    assert share_done('Iter(val) [10/10]') is None
    assert minutes(59.6) == '1:00'


def test_several_processes_are_started_by_torchrun(tmp_path):
    """Each runs the same command, as one of two."""
    train = tmp_path / 'train.py'
    train.write_text(
        'import os, pathlib, sys\n'
        "folder = pathlib.Path(sys.argv[sys.argv.index('--work-dir') + 1])\n"
        "rank, size = os.environ['RANK'], os.environ['WORLD_SIZE']\n"
        "(folder / f'{rank} of {size}').write_text(' '.join(sys.argv[1:]))\n"
        "(folder / 'last_checkpoint').write_text('iter_4.pth')\n"
    )
    work_dir = tmp_path / 'first'
    last = run_stage(
        STAGES[0], train, work_dir, {}, Progress(STAGES, io.StringIO()), {}, ['--amp'], 2
    )
    assert last == Path('iter_4.pth')
    said = [(work_dir / f'{rank} of 2').read_text() for rank in (0, 1)]
    wanted = f'first.py --work-dir {work_dir} --launcher pytorch --amp'
    assert said == [wanted, wanted]
