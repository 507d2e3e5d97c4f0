"""What the console shows of a long entry, and that the file has all of it."""

import logging

import mmpretrain.apis  # noqa: F401, for the processes that are forked
from toy_run import make_photos, train

from beit_mm.engine.starting.short_log import MOST_LINES, ShortFormatter


def entry(message, level=logging.INFO):
    return logging.LogRecord('mmengine', level, 'a.py', 1, message, None, None)


def test_long_entries_are_a_line_and_warnings_are_whole():
    formatter = ShortFormatter(logging.Formatter('now - %(levelname)s - %(message)s'), 'run.log')
    long = '\n'.join(f'line {number}' for number in range(50))
    assert formatter.format(entry('short\nand good')) == 'now - INFO - short\nand good'
    assert formatter.format(entry(f'Config:\n{long}')).splitlines() == [
        'now - INFO - Config: line 0 ... (51 lines in run.log)'
    ]
    assert long in formatter.format(entry(long, logging.WARNING))
    assert formatter.format(entry(f'\n-----\nSystem:\n{long}')).splitlines() == [
        'now - INFO -  System: ... (53 lines in run.log)'
    ]


def test_a_start_fits_one_screen(tmp_path):
    photos = make_photos(tmp_path)
    result = train(photos, tmp_path / 'run')
    assert result.returncode == 0, result.stderr[-2000:]
    before, _, _ = result.stdout.partition('Iter(train)')
    assert len(before.splitlines()) <= 30
    for noise in ('MultiScaleDeformableAttention', 'OneDL'):
        assert noise not in result.stdout
    (log,) = (tmp_path / 'run').glob('*/*.log')
    text = log.read_text()
    assert 'optim_wrapper=dict(' in text.replace(' ', '')
    assert len(text.splitlines()) > 10 * MOST_LINES
