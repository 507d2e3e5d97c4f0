"""The comparison of BEiT, MAE and scratch: its table, its steps, its lists, its options."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / 'benchmarks'))

import methods  # noqa: E402

pytest.importorskip('mmpretrain')

RESULTS = ROOT / 'benchmarks/results'


@pytest.fixture(scope='module')
def report():
    return json.loads((RESULTS / 'methods.json').read_text())


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Two classes of 80 training and two validation photos."""
    root = tmp_path_factory.mktemp('photos')
    for split, size in (('train', 80), ('val', 2)):
        for name in ('ant', 'bee'):
            (root / split / name).mkdir(parents=True)
            for index in range(size):
                Image.new('RGB', (8, 8)).save(root / split / name / f'{index}.png')
    return methods.write_lists(root, root / 'lists', [0, 1])


def rows_of(text):
    """Cells of the lines of the Markdown tables that begin with a row's title."""
    lines = [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines()]
    return {cells[0]: cells[1:] for cells in lines if len(cells) == 2 + len(methods.SCORES)}


@pytest.mark.parametrize('page', [RESULTS / 'methods.md', ROOT / 'docs/methods.md'])
def test_table_is_that_of_the_runs(report, page):
    table = rows_of(page.read_text())
    assert set(report['runs']) <= set(methods.ROWS)
    for name, runs in report['runs'].items():
        cells = table[methods.ROWS[name].title]
        for score, cell in zip(methods.SCORES, cells, strict=False):
            values = np.array([run[score] for run in runs.values() if score in run])
            shown = [float(number) for number in re.findall(r'[\d.]+', cell)]
            if not len(values):
                assert not shown
                continue
            # Shown to a tenth, of figures that are kept to a hundredth.
            assert shown[0] == pytest.approx(values.mean(), abs=0.06)
            if len(values) > 1:
                assert shown[1] == pytest.approx(values.std(ddof=1), abs=0.06)
        assert [float(x) for x in cells[-1].split(', ')] == pytest.approx(
            [run['top1'] for run in runs.values()], abs=0.051
        )


def test_steps_take_the_same_time(report):
    seconds, steps = report['measured']['seconds_a_step'], methods.STEPS
    spent = dict(
        beit=steps['tokenizer'] * seconds['tokenizer'] + steps['beit'] * seconds['beit'],
        mae=steps['mae'] * seconds['mae'],
        scratch=(steps['scratch_longer'] - steps['finetune']) * seconds['finetune_mae'],
    )
    for name, value in spent.items():
        assert value == pytest.approx(methods.BUDGET, rel=0.02), name


def test_photos_that_choose_are_read_by_nothing_else(data):
    lists = {file.stem: file.read_text().splitlines() for file in data.lists.glob('*.txt')}
    choosing = set(lists['choosing_photos'])
    assert len(choosing) == 2 * methods.CHOOSING
    assert choosing.isdisjoint(lists['photos'])
    assert len(choosing) + len(lists['photos']) == 160
    for seed in (0, 1, methods.CHOICE):
        drawn = [line.split() for line in lists[f'labels_{seed}']]
        assert len({path for path, _ in drawn}) == 2 * methods.LABELS
        assert {path for path, _ in drawn} <= set(lists['photos'])
        assert all(data.classes[int(label)] == path.split('/')[0] for path, label in drawn)
    assert lists['labels_0'] != lists['labels_1']
    assert len(lists['val']) == 4
    chosen = methods.labelled(data, methods.CHOICE, 10, (1e-3, 1.0), None)
    assert chosen['val_dataloader.dataset.ann_file'].endswith('/choosing.txt')
    final = methods.labelled(data, 0, 10, (1e-3, 1.0), None)
    assert final['val_dataloader.dataset.ann_file'].endswith('/val.txt')


def test_every_option_names_a_setting_of_its_config(data, tmp_path, monkeypatch):
    """An option that the config lacks would be added to it and change nothing."""
    stages = {}

    def run(name, stage, out, seed, options):
        stages[name] = stage, options
        metrics = {'accuracy/top1': 1.0}
        return dict(metrics=metrics, checkpoint=tmp_path / 'weights.pth', cpu_seconds=1.0)

    monkeypatch.setattr(methods, 'run', run)
    monkeypatch.setattr(methods, 'frozen', lambda *args: [dict(linear=1.0, knn=1.0)])
    for row in methods.ROWS:
        methods.run_row(row, data, tmp_path, 0)
    assert len(stages) == 3 + len(methods.ROWS)
    for stage, options in stages.values():
        family, config = methods.CONFIGS[stage]
        before = Config.fromfile(ROOT / f'configs/{family}/{config}.py').to_dict()
        # The recipes leave these to others' own values.
        new = ('optim_wrapper.type', 'persistent_workers', 'metainfo.classes')
        for key in options:
            value = before
            for part in [] if key.endswith(new) else key.split('.'):
                value = value[int(part)] if isinstance(value, list) else value[part]


def test_the_shortest_row_builds(data):
    cfg = Config.fromfile(ROOT / 'configs/methods/finetune_mae.py')
    cfg.merge_from_dict(methods.labelled(data, 0, 10, methods.ROWS['scratch'].settings, None))
    init_default_scope('mmpretrain')
    model = MODELS.build(cfg.model)
    assert model.head.num_classes == 2
    assert model.backbone.num_layers == 6
    assert model.backbone.pos_embed.requires_grad
