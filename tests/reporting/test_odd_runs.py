"""Whatever lies in a folder, the page is made: logs and configs that no run should have written."""

import json
import math
import os

import pytest

from beit_mm.commands.main import main
from beit_mm.commands.reporting import report
from beit_mm.reporting import read_run

ENTRY = dict(loss=1.0, lr=0.1, time=0.2, data_time=0.1, grad_norm=3.0, mim_acc=1.0)
VAL = {'mim/acc': 1.0, 'mim/commonest': 2.0, 'mIoU': 3.0, 'loss': 1.0}
CONFIG = """
model = dict(head=dict(vocab_size={0}), type={0})
train_cfg = dict(by_epoch={0}, max_epochs={0}, max_iters={0})
train_dataloader = dict(batch_size={0}, num_workers={0}, dataset=dict(pipeline={0}))
optim_wrapper = dict(optimizer=dict(lr={0}), clip_grad=dict(max_norm={0}), accumulative_counts={0})
param_scheduler = [dict(begin={0}, T_max={0}), dict(end={0}, by_epoch={0}), {0}]
default_hooks = dict(logger=dict(interval={0}))
custom_hooks = {0}
val_evaluator = [{0}]
"""
LOG = '2026/01/01 00:00:00 - mmengine - INFO - {}\n'


def run_of(work_dir, scalars='', config=None, log=''):
    start = work_dir / '20260101_000000'
    (start / 'vis_data').mkdir(parents=True)
    (start / 'vis_data' / 'scalars.json').write_text(scalars)
    (start / f'{start.name}.log').write_text(log)
    if config is not None:
        (start / 'vis_data' / 'config.py').write_text(config)
    return work_dir


def entries(value, place=lambda index: index):
    train = [{**dict.fromkeys(ENTRY, value), 'iter': place(i)} for i in range(1, 30)]
    val = [{**dict.fromkeys(VAL, value), 'step': i} for i in range(3)]
    mixed = [line for three in zip(train, val * 10, strict=False) for line in three]
    return ''.join(json.dumps(line) + '\n' for line in mixed)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize(
    'value', [math.nan, math.inf, -math.inf, 1.7e308, -5e-324, 10**400, True, None, 'x', [1], 0, 7]
)
def test_figures_may_be_anything(tmp_path, value):
    page = report(run_of(tmp_path, entries(value))).read_text()
    chart = page.partition('<svg')[2].partition('</svg>')[0]
    # A browser draws no such places.
    assert not any(f'"{word}' in chart or f',{word}' in chart for word in ('nan', 'inf', '-inf'))


@pytest.mark.parametrize('place', [math.nan, math.inf, 10**400, -3, True])
def test_places_may_be_anything(tmp_path, place):
    report(run_of(tmp_path, entries(1.0, lambda _: place)))


@pytest.mark.parametrize(
    'value',
    ['"x"', 'None', '-1', '0', '1e999', 'True', '[1]', '[[]]', '{1: {2: 3}}', 'f(x)', '[None]'],
)
def test_settings_may_be_anything(tmp_path, value):
    log = ''.join(LOG.format(f'Epoch(train) [{i}][ 5/10] loss: 1') for i in range(1, 4))
    report(
        run_of(
            tmp_path,
            entries(1.0),
            CONFIG.format(value),
            log + '    GPU number: \N{SUPERSCRIPT TWO}\n',
        )
    )


@pytest.mark.parametrize(
    'text',
    ['', '\0', 'a = (', 'a = {[1]}', f'a = {"[" * 9000}{"]" * 9000}', f'a = {"-" * 50_000}1'],
)
def test_files_may_be_anything(tmp_path, text):
    run_of(
        tmp_path,
        text + '\n' + entries(1.0),
        text,
        text + LOG.format(f'Iter(train) [{"9" * 5000}/3]'),
    )
    (tmp_path / 'non_finite').mkdir()
    kinds = [
        text,
        '{}',
        '{"iteration": "x"}',
        '{"iteration": 4, "gradient_norm": {}}',
        '[' * 99_999,
    ]
    for number, kind in enumerate(kinds):
        (tmp_path / 'non_finite' / f'iter_{number}.json').write_text(kind)
    (tmp_path / 'image_changes.json').write_text('{"changes": [1]}')
    (tmp_path / 'report.json').write_text(f'{{"accuracy": {"9" * 5000}, "b": "<script>b"}}')
    page = report(tmp_path).read_text()
    assert 'was not finite in one step' in page
    assert '<script>b' not in page


@pytest.mark.parametrize('part', range(10))
def test_a_run_may_be_written_while_it_is_read(tmp_path, part):
    scalars, config = entries(1.0), CONFIG.format(4)
    log = ''.join(LOG.format(f'Iter(train) [{i:>4}/1000]  loss: 1.0') for i in range(1, 30))
    there = [text[: len(text) * part // 9 - part % 2] for text in (scalars, config, log)]
    run = run_of(tmp_path, *there)
    (run / 'iter_20.pth').write_bytes(b'')
    (run / '20260101_000000/vis_data/vis_image').mkdir()
    (run / '20260101_000000/vis_data/vis_image/a_10.png').write_bytes(b'\x89PNG')
    report(run)
    (stage,) = read_run(run).stages
    whole = [json.loads(line) for line in there[0].splitlines() if line.endswith('}')]
    steps = [entry['iter'] for entry in whole if 'iter' in entry]
    assert steps == (stage.train['loss'].steps.tolist() if steps else [])


@pytest.mark.skipif(os.name != 'posix', reason='names of files are text')
def test_names_may_be_no_text(tmp_path, capsys):
    folder = tmp_path / os.fsdecode(b'run\xff')
    run_of(folder, entries(1.0))
    (folder / os.fsdecode(b'pic\xff.png')).write_bytes(b'')
    main(['report', str(folder)])
    assert 'run\\udcff' in capsys.readouterr().out
    assert 'pic\\udcff.png' in (folder / 'report.html').read_text()
