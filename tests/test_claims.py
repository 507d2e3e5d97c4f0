"""The papers' claims: the tables are those of the kept runs, and a quick row runs end to end."""

import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import forked
import mmpretrain.apis  # noqa: F401, for the processes that are forked
import numpy as np
import pytest
from PIL import Image
from scipy import stats

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / 'benchmarks'))

import claim_recipes  # noqa: E402
import claim_runs  # noqa: E402
import claim_tables  # noqa: E402
import claims  # noqa: E402
from claim_rows import ROWS  # noqa: E402

RESULTS = ROOT / 'benchmarks/results/claims'
RUNS = {run.name: run for row in ROWS for run in row.runs}


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Four classes of 60 training and two validation photos."""
    root = tmp_path_factory.mktemp('photos')
    rng = np.random.default_rng(0)
    for split, size in (('train', 60), ('val', 2)):
        for name in ('ant', 'bee', 'cow', 'dog'):
            (root / split / name).mkdir(parents=True)
            for index in range(size):
                pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f'{index}.png')
    return claim_runs.place_of(root, root / 'camvid', root / 'out', root / 'results', 1.0)


def scores_of(point):
    """A point's scores by seed, read without the code that makes the tables."""
    file = RESULTS / f'{point.run.name}.json'
    seeds = json.loads(file.read_text())['seeds'] if file.is_file() else {}
    name, _, step = point.score.partition(':')
    if step:
        curves = {seed: dict(run['curve']) for seed, run in seeds.items()}
        return {seed: curve[int(step)] for seed, curve in curves.items() if int(step) in curve}
    return {seed: run[name] for seed, run in seeds.items() if name in run}


def test_table_is_that_of_the_kept_runs():
    lines = [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in (ROOT / 'docs/claims.md').read_text().splitlines()
        if line.startswith('| ') and '](' not in line and '---' not in line
    ][1:]
    wanted = [(row, claim) for row in ROWS for claim in row.claims]
    for (row, claim), (said, paper, figures, verdict) in zip(wanted, lines, strict=True):
        assert said.startswith(claim.left)
        assert claim.right in said
        assert paper == claim.paper
        points = {point.label: scores_of(point) for point in row.points}
        left, right = points[claim.left], points[claim.right]
        changes = np.array([left[seed] - right[seed] for seed in left if seed in right])
        shown = [float(number) for number in re.findall(r'[+-]?\d+\.\d', figures)]
        if not len(changes):
            assert (shown, verdict) == ([], 'not run yet')
            continue
        assert shown[0] == pytest.approx(changes.mean(), abs=0.051)
        if len(changes) < 3:
            assert verdict == f'begun: {len(changes)} of 3 seeds'
            continue
        low, high = stats.ttest_1samp(changes, 0).confidence_interval(0.95)
        assert shown[1] == pytest.approx((high - low) / 2, abs=0.051)
        if claim.margin is None:
            assert verdict == ('holds' if low > 0 else 'does not' if high < 0 else 'undecided')
        else:
            assert (verdict == 'holds') == (max(-low, high) < claim.margin)


def test_pages_are_those_of_the_kept_runs():
    for name, text in claim_tables.pages(RESULTS).items():
        assert (ROOT / 'docs' / name).read_text() == text, f'{name}: benchmarks/claims.py --report'
    for row in ROWS:
        if any(scores_of(point) for point in row.points if point.drawn):
            for ending in ('.csv', '.png', '_dark.png'):
                assert (ROOT / f'docs/claims/{row.name}{ending}').is_file()


def estimate(*values):
    return claim_tables.estimate(dict(enumerate(values)))


def test_interval_and_verdict():
    # Spread 1, so half of the interval is 4.3027 / sqrt(3), of two degrees of freedom.
    found = estimate(9.0, 10.0, 11.0)
    assert found.half == pytest.approx(2.4842, abs=1e-3)
    verdict = claim_tables.verdict
    assert verdict(found, None) == 'holds'
    assert verdict(estimate(-9.0, -10.0, -11.0), None) == 'does not'
    assert verdict(estimate(1.0, 2.0, 3.0), None) == 'undecided'
    assert verdict(estimate(1.0, 2.0), None) == 'begun: 2 of 3 seeds'
    assert verdict(None, None) == 'not run yet'
    assert verdict(estimate(-1.0, 0.0, 1.0), 2.5) == 'holds'
    assert verdict(estimate(-1.0, 0.0, 1.0), 2.0) == 'undecided'
    assert verdict(found, 2.0) == 'does not'
    pairs = claim_tables.difference(estimate(3.0, 5.0, 9.0), estimate(1.0, 2.0))
    assert pairs.values == {0: 2.0, 1: 3.0}


def test_a_name_is_one_run_and_rows_speak_of_their_points():
    for row in ROWS:
        assert row.name.split('-')[0] in claim_tables.PAGES
        labels = [point.label for point in row.points]
        assert len(set(labels)) == len(labels)
        assert {x for claim in row.claims for x in (claim.left, claim.right)} <= set(labels)
        for run in row.runs:
            assert run.settings == RUNS[run.name].settings, run.name
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_a_row_is_finished_before_the_next_begins(tmp_path):
    rows = list(ROWS[:2])
    left = claims.missing(rows, [0, 1], tmp_path)
    assert [row.name for row, _, _ in left] == sorted(
        (row.name for row, _, _ in left), key=[row.name for row in rows].index
    )
    assert [seed for row, seed, _ in left if row == rows[0]] == [0] * 4 + [1] * 4
    run = left[0][2]
    claim_runs.keep(run, 0, dict(cpu_seconds=1.0), tmp_path)
    assert claims.missing(rows, [0, 1], tmp_path) == left[1:]
    with pytest.raises(SystemExit, match='of other settings'):
        claim_runs.results_of(run._replace(steps=7), tmp_path)


def test_two_processes_take_runs_of_different_seeds(place, tmp_path, monkeypatch):
    place = dataclasses.replace(place, out=tmp_path / 'out', results=tmp_path / 'results')
    args = argparse.Namespace(seeds=[0, 1], docs=tmp_path / 'docs')
    clock = claims.Clock(0.0)
    taken = []

    def carry_out(run, seed, place):
        taken.append((run.name, seed))
        if len(taken) == 1:
            # Another process, started meanwhile.
            assert claims.run_next(ROWS[:1], args, place, clock)
        return dict(cpu_seconds=1.0)

    monkeypatch.setattr(claims, 'carry_out', carry_out)
    monkeypatch.setattr(claims, 'with_lost_starts', lambda run, seed, place: [run])
    monkeypatch.setattr(claims, 'write_report', lambda results, docs, run: None)
    assert claims.run_next(ROWS[:1], args, place, clock)
    assert taken == [('tokenizer', 0), ('tokenizer', 1)]
    assert set(claim_runs.results_of(RUNS['tokenizer'], place.results)) == {0, 1}
    while claims.run_next(ROWS[:1], args, place, clock):
        pass
    assert len(taken) == len(set(taken)) == 8
    for seed in (0, 1):
        assert [name for name, of in taken if of == seed] == [run.name for run in ROWS[0].runs]


def test_every_option_names_a_setting_of_its_recipe(place, monkeypatch):
    """:func:`claim_runs.put` refuses others; a run must differ from those that it is beside."""
    monkeypatch.setattr(claim_runs, 'weights_of', lambda *args: 'weights.pth')
    texts = {}
    for run in RUNS.values():
        if run.stage in claim_runs.WAYS:
            continue
        cfg = claim_runs.config_of(run, 0, place)
        texts.setdefault(str(cfg.to_dict() | dict(start=[x.name for x in run.needs])), run.name)
    trained = [run for run in RUNS.values() if run.stage not in claim_runs.WAYS]
    assert len(texts) == len(trained), 'two runs of one config'
    with pytest.raises(KeyError, match='no such setting'):
        claim_runs.put(cfg, 'train_cfg.max_itres', 3)


def test_settings_are_chosen_before_anything_is_measured(tmp_path, monkeypatch, place):
    monkeypatch.setattr(claim_recipes, 'CHOSEN', tmp_path / 'chosen.json')
    monkeypatch.setattr(claims, 'CHOSEN', tmp_path / 'chosen.json')
    better = {'beit': 1, 'mae': 0, 'scratch': 1, 'scratch_vit': 0}
    tried = []

    def carry_out(run, seed, place):
        if not run.held_out:
            return dict(cpu_seconds=1.0)
        kind = run.name.split('-')[1]
        tried.append(kind)
        number = tried.count(kind) - 1
        return dict(curve=[[1, 50.0], [2, 20.0 + (number == better[kind])]])

    monkeypatch.setattr(claims, 'carry_out', carry_out)
    folders = ['--out', str(tmp_path / 'out'), '--results', str(tmp_path / 'r')]
    monkeypatch.setattr(sys, 'argv', ['claims.py', '--data', str(place.data), *folders])
    with pytest.raises(SystemExit, match='run --choose first'):
        claims.main()
    of_tests = dataclasses.replace(place, out=tmp_path / 'out', results=tmp_path / 'r')
    claims.choose(of_tests, claims.Clock(time.monotonic(), limit=-1.0))
    assert not tried
    claims.choose(of_tests, claims.Clock(time.monotonic()))
    claims.choose(of_tests, claims.Clock(time.monotonic()))
    assert sorted(tried) == sorted([*better, *better])
    for kind, number in better.items():
        assert claim_recipes.chosen(kind) == claim_recipes.SCALE.tried[kind][number]


@pytest.mark.parametrize(
    ('mode', 'refused', 'taken'),
    [
        ('--list', ['--row', 'mae-pretraining'], ['--seeds', '0', '--results', 'r']),
        ('--list', ['--minutes', '3'], []),
        ('--report', ['--seeds', '0'], ['--results', 'r', '--docs', 'd']),
        ('--report', ['--length', '0.5'], []),
        ('--choose', ['--row', 'mae-pretraining'], ['--seeds', '0', '1', '2']),
        ('--choose', ['--length', '0.01', '--results', 'r'], ['--out', 'o', '--minutes', '3']),
        ('--choose', ['--seeds', '1'], []),
    ],
)
def test_options_that_would_change_nothing_are_refused(monkeypatch, capsys, mode, refused, taken):
    command = ['claims.py', '--data', 'photos', mode]
    monkeypatch.setattr(sys, 'argv', [*command, *taken])
    assert getattr(claims.parse_args(), mode.strip('-'))
    monkeypatch.setattr(sys, 'argv', [*command, *taken, *refused])
    with pytest.raises(SystemExit):
        claims.parse_args()
    assert f'{mode} and --' in (told := capsys.readouterr().err)
    assert any(f'{name} are both given' in told for name in refused)


def test_a_run_changes_the_plots_of_its_rows_alone(tmp_path):
    results, docs = tmp_path / 'results', tmp_path / 'docs'
    for name in ('beit-finetuned', 'mae-finetuned'):
        claim_runs.keep(RUNS[name], 0, {'accuracy/top1': 20.0, 'cpu_seconds': 1.0}, results)
    claim_tables.write_report(results, docs, RUNS['mae-finetuned'])
    drawn = {path.stem for path in (docs / 'claims').glob('*.csv')}
    assert drawn >= {'claims', 'mae-pretraining', 'mae-mask-share'}
    assert all(name == 'claims' or name.startswith(('mae', 'same')) for name in drawn)
    assert 'begun: 1 of 3' not in (docs / 'claims.md').read_text()


def test_a_start_that_was_lost_keeps_its_first_figures(tmp_path, monkeypatch, place):
    place = dataclasses.replace(place, out=tmp_path / 'out', results=tmp_path / 'results')
    for name, seconds in (('tokenizer', 1.0), ('beit', 2.0)):
        claim_runs.keep(RUNS[name], 0, dict(cpu_seconds=seconds), place.results)
    monkeypatch.setattr(claims, 'carry_out', lambda run, seed, place: dict(cpu_seconds=9.0))
    claims.run_with_starts(RUNS['beit-finetuned'], 0, place)
    seconds = {name: claim_runs.results_of(RUNS[name], place.results)[0]['cpu_seconds']
               for name in ('tokenizer', 'beit', 'beit-finetuned')}  # fmt: skip
    assert seconds == {'tokenizer': 1.0, 'beit': 2.0, 'beit-finetuned': 9.0}


def test_runs_can_use_a_gpu_though_they_are_forks():
    """CUDA, once asked for, cannot be used in forks: a stub stands for the driver's other way."""
    code = """
import os, sys
import torch
torch.cuda._device_count_nvml = lambda: 1
sys.path.insert(0, sys.argv[1])
import claims
claims.import_everything()
assert torch.cuda.is_available()
if os.fork() == 0:
    os._exit(torch.cuda._is_in_bad_fork())
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    command = [sys.executable, '-c', code, ROOT / 'benchmarks']
    environment = {key: value for key, value in os.environ.items() if 'CUDA' not in key}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_labels_are_nested_and_apart_from_what_chooses(place):
    lists = {}
    for labels in (5, 25):
        run = RUNS['scratch']._replace(labels=labels)
        for seed in (0, 1):
            paths = claim_runs.labelled_lists(run, seed, place)
            lists[labels, seed] = set(paths[0].read_text().splitlines())
        assert len(paths[1].read_text().splitlines()) == 8
    assert {key: len(lines) for key, lines in lists.items()} == {
        (5, 0): 20, (5, 1): 20, (25, 0): 100, (25, 1): 100,
    }  # fmt: skip
    assert lists[5, 0] < lists[25, 0]
    assert lists[5, 0] != lists[5, 1]
    choosing = set((place.lists / 'choosing_photos.txt').read_text().split())
    assert len(choosing) == 100
    assert choosing.isdisjoint(line.split()[0] for line in lists[25, 0] | lists[25, 1])
    assert choosing.isdisjoint((place.lists / 'photos.txt').read_text().split())
    halves = [
        claim_runs.labelled_lists(RUNS['scratch']._replace(classes=name), 0, place)[0].read_text()
        for name in ('target', 'other')
    ]
    assert [sorted({line.split('/')[0] for line in half.splitlines()}) for half in halves] == [
        ['ant', 'cow'], ['bee', 'dog'],
    ]  # fmt: skip


@pytest.mark.slow
def test_a_row_runs_end_to_end(place, tmp_path):
    command = [
        sys.executable, ROOT / 'benchmarks/claims.py', '--data', place.data, '--out',
        tmp_path / 'out', '--results', tmp_path / 'results', '--docs', tmp_path / 'docs',
        '--row', 'mae-pretraining', '--length', '0.002', '--seeds',
    ]  # fmt: skip
    settings = dict(check=True, capture_output=True, text=True)
    settings['env'] = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    done = forked.run([*command, '0'], **settings)
    assert '3 runs left' in done.stdout
    kept = {path.stem: json.loads(path.read_text()) for path in (tmp_path / 'results').iterdir()}
    assert set(kept) == {'mae', 'mae-finetuned', 'scratch-vit'}
    assert all(set(run['seeds']) == {'0'} for run in kept.values())
    weights = list((tmp_path / 'out').rglob('*.pth'))
    # Later rows begin with MAE's; those of fine-tuning nothing needs.
    assert {path.parent.name for path in weights} == {'mae'}
    # Of other seeds, in the place of six runs more.
    for name, run in kept.items():
        (figures,) = run['seeds'].values()
        for seed, more in ((1, 0.5), (2, -0.5)):
            of_seed = {key: figure + more * ('top1' in key) for key, figure in figures.items()}
            claim_runs.keep(RUNS[name], seed, of_seed, tmp_path / 'results')
    again = forked.run([*command, '0', '1', '2'], **settings)
    assert 'runs left' not in again.stdout
    text = (tmp_path / 'docs/claims.md').read_text()
    row = next(line for line in text.splitlines() if line.startswith('| MAE > from scratch'))
    assert row.split('|')[-2].strip() in ('holds', 'does not', 'undecided')
    with Image.open(tmp_path / 'docs/claims/mae-pretraining.png') as plot:
        assert plot.width > 500


@pytest.mark.slow
def test_rows_and_configs_of_the_larger_scale():
    """The tests above of them, with its settings."""
    names = 'names_a_setting or a_name_is_one_run or finished_before or are_nested'
    tests = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', __file__, '-k', names]
    larger = {**os.environ, 'CLAIMS_SCALE': 'larger'}
    done = subprocess.run(tests, env=larger, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert '4 passed' in done.stdout
