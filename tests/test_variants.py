"""The benchmark of variants: its lists, its table, and that it goes on where it was stopped."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import forked
import mmpretrain.apis  # noqa: F401, for the processes that are forked
import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope='module')
def variants():
    spec = importlib.util.spec_from_file_location('variants', ROOT / 'benchmarks/variants.py')
    module = importlib.util.module_from_spec(spec)
    # Its dataclass looks itself up there.
    sys.modules['variants'] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """Three classes of eight training and four validation photos."""
    root = tmp_path_factory.mktemp('photos')
    rng = np.random.default_rng(0)
    for split, size in (('train', 8), ('val', 4)):
        for name in ('ant', 'bee', 'cow'):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(size):
                pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f'{index}.png')
    return root


@pytest.fixture
def settings(variants, photos):
    return variants.Settings(
        data=str(photos),
        classes=2,
        labels=3,
        tokenizer_epochs=2,
        pretrain_epochs=40,
        finetune_epochs=20,
        finetune_lr=1e-3,
        batch_size=8,
        workers=0,
        width=32,
        depth=1,
    )


def test_lists_hold_the_classes_asked_for_and_labels_drawn_by_the_seed(
    variants, settings, photos, tmp_path
):
    assert variants.write_lists(settings, tmp_path, [0, 1]) == (16, 6)
    images = (tmp_path / 'images.txt').read_text().split()
    assert sorted(images) == sorted(f'{name}/{n}.png' for name in ('ant', 'bee') for n in range(8))
    assert all((photos / 'train' / path).is_file() for path in images)
    rows = [line.split() for line in (tmp_path / 'val.txt').read_text().splitlines()]
    assert sorted(rows) == [
        [f'{name}/{n}.png', str(label)]
        for label, name in enumerate(('ant', 'bee'))
        for n in range(4)
    ]
    drawn = [(tmp_path / f'labels_{seed}.txt').read_text() for seed in (0, 1)]
    assert drawn[0] != drawn[1]
    for text in drawn:
        rows = [line.split() for line in text.splitlines()]
        assert len({path for path, _ in rows}) == 6
        assert [label for _, label in rows] == ['0'] * 3 + ['1'] * 3
        assert all(path.startswith(('ant', 'bee')[int(label)]) for path, label in rows)
    variants.write_lists(settings, tmp_path, [1])
    assert (tmp_path / 'labels_1.txt').read_text() == drawn[1], 'a seed repeats'


def test_a_folder_of_other_settings_is_refused(variants, settings, tmp_path):
    variants.claim_folder(tmp_path, settings)
    variants.claim_folder(tmp_path, settings)
    with pytest.raises(SystemExit, match='other settings'):
        variants.claim_folder(tmp_path, replace(settings, labels=4))


def test_every_option_names_a_setting_of_its_config(variants, settings, tmp_path, monkeypatch):
    """An option that the config lacks would be added to it and change nothing."""
    stages = []
    monkeypatch.setattr(variants, 'run_stage', lambda *args: stages.append((args[1], args[-1])))
    for config in set(variants.TOKENIZERS.values()):
        variants.train_tokenizer(config, settings, tmp_path)
    for variant in variants.VARIANTS:
        if variant != 'scratch':
            tokenizer = tmp_path / 'tokenizer.pth' if variant in variants.TOKENIZERS else None
            variants.pretrain(variant, 0, settings, tmp_path, tokenizer)
    variants.finetune('scratch', 0, settings, tmp_path)
    assert len(stages) == 12
    new = {'train_dataloader.persistent_workers'} | {
        f'{loader}_dataloader.dataset.ann_file' for loader in ('train', 'val')
    }
    for config, options in stages:
        before = Config.fromfile(ROOT / f'configs/claims/{config}.py').to_dict()
        for key in set(options) - new:
            value = before
            for part in key.split('.'):
                value = value[int(part)] if isinstance(value, list) else value[part]


def write_result(folder, seconds=10.0, **metrics):
    folder.mkdir(parents=True)
    report = dict(metrics=metrics, seconds=seconds, checkpoint='epoch_1.pth')
    (folder / 'result.json').write_text(json.dumps(report))


def test_table_has_mean_spread_and_gain(variants, settings, tmp_path):
    for seed, (full, scratch) in enumerate([(50.0, 40.0), (52.0, 41.0), (57.0, 42.0)]):
        write_result(tmp_path / f'full/{seed}/pretrain', **{'mim/acc': 20.0 + seed})
        write_result(tmp_path / f'full/{seed}/finetune', **{'accuracy/top1': full})
        write_result(tmp_path / f'scratch/{seed}/finetune', **{'accuracy/top1': scratch})
    write_result(tmp_path / 'pixels/0/finetune', **{'accuracy/top1': 45.0})
    report = variants.summarize(settings, tmp_path, 16, 6)
    assert report['seconds'] == 100
    assert report['top1']['full']['mean'] == 53
    # ((50 - 53)^2 + (52 - 53)^2 + (57 - 53)^2) / 2 = 13.
    assert report['top1']['full']['std'] == pytest.approx(13**0.5, abs=0.005)
    assert report['top1']['full']['seeds']['2'] == {'top1': 57.0, 'mim/acc': 22.0}
    assert report['top1']['pixels']['std'] is None
    assert 'all-tokens' not in report['top1']
    rows = [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in variants.to_markdown(report).splitlines()
        if line.startswith('|')
    ]
    by_name = {row[0]: row[2:] for row in rows}
    assert by_name['full'] == ['50.0, 52.0, 57.0', '53.0', '3.6', '+12.0']
    assert by_name['scratch'] == ['40.0, 41.0, 42.0', '41.0', '1.0', '+0.0']
    assert by_name['pixels'] == ['45.0', '45.0', '', '+4.0']


def command(photos, out):
    return [
        sys.executable, ROOT / 'benchmarks/variants.py', '--data', photos, '--out', out,
        '--variants', 'pixels', '--seeds', '4', '--classes', '2', '--labels', '3',
        '--pretrain-epochs', '40', '--finetune-epochs', '2', '--batch-size', '8',
        '--width', '32', '--depth', '1',
    ]  # fmt: skip


def last_epoch(stage):
    marker = stage / 'last_checkpoint'
    name = marker.read_text().strip() if marker.is_file() else ''
    return int(Path(name).stem.removeprefix('epoch_')) if name else None


def test_a_marker_cut_off_in_writing_does_not_stop_a_stage_for_good(variants, tmp_path):
    marker = tmp_path / 'last_checkpoint'
    assert not variants._can_resume(tmp_path)
    for text in ('', str(tmp_path / 'removed.pth')):
        marker.write_text(text)
        assert not variants._can_resume(tmp_path)
        assert not marker.exists()
    checkpoint = tmp_path / 'epoch_1.pth'
    checkpoint.touch()
    marker.write_text(str(checkpoint))
    assert variants._can_resume(tmp_path)


@pytest.mark.slow
def test_it_goes_on_where_it_was_stopped_and_skips_what_is_finished(photos, tmp_path):
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    out, stage = tmp_path / 'out', tmp_path / 'out/pixels/4/pretrain'
    process = subprocess.Popen(command(photos, out), env=environment, start_new_session=True)
    stopped_at = None
    while stopped_at is None:
        assert process.poll() is None, 'it ended before it could be stopped'
        time.sleep(0.05)
        # Held still first: the marker is empty for a moment whenever it is written anew.
        os.killpg(process.pid, signal.SIGSTOP)
        stopped_at = last_epoch(stage)
        os.killpg(process.pid, signal.SIGKILL if stopped_at else signal.SIGCONT)
    process.wait()
    assert not (stage / 'result.json').exists()
    assert stopped_at < 40

    forked.run(command(photos, out), env=environment, check=True)
    logs = sorted(stage.glob('*/vis_data/scalars.json'))
    rows = [json.loads(line) for line in logs[-1].read_text().splitlines()]
    # Two steps an epoch; a run that starts anew logs the end of its first epoch.
    assert min(row['step'] for row in rows) > 2 * stopped_at
    report = json.loads((out / 'variants.json').read_text())
    assert set(report['top1']) == {'pixels'}
    assert (stage / 'epoch_40.pth').is_file()
    results = {path: path.stat().st_mtime_ns for path in out.rglob('result.json')}
    assert len(results) == 2

    again = forked.run(
        command(photos, out), env=environment, check=True, capture_output=True, text=True
    )
    assert {path: path.stat().st_mtime_ns for path in out.rglob('result.json')} == results
    assert 'pixels/4/pretrain' not in again.stdout, 'no stage was started'
    assert json.loads((out / 'variants.json').read_text())['top1'] == report['top1']
