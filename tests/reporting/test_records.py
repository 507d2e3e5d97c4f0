"""What is read of a work directory, however it was left; curves thinned without losing peaks."""

import json
import math

import numpy as np
import pytest

from beit_mm.component import ConfigError
from beit_mm.config_text import settings_in_text
from beit_mm.reporting import look_for_what_is_wrong, read_run
from beit_mm.reporting.curve import Curve, thinned
from beit_mm.reporting.written_config import settings_of


def write_log(work_dir, entries, tail='', start='20260101_000000'):
    vis_data = work_dir / start / 'vis_data'
    vis_data.mkdir(parents=True, exist_ok=True)
    (vis_data / 'scalars.json').write_text(''.join(json.dumps(e) + '\n' for e in entries) + tail)
    return vis_data


@pytest.mark.parametrize('seed', range(20))
def test_thinning_keeps_ends_extremes_and_what_is_not_finite(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 20_000))
    values = rng.normal(size=count).cumsum()
    values[rng.integers(0, count, 3)] = [1e9, -1e9, rng.choice([math.nan, math.inf, 5.0])]
    curve = Curve(np.arange(count, dtype=float), values)
    thin = thinned(curve, 1000)
    assert len(thin.steps) <= 1000
    assert (np.diff(thin.steps) > 0).all()
    assert {thin.steps[0], thin.steps[-1]} == {0, count - 1}
    assert np.array_equal(thin.values, values[thin.steps.astype(int)], equal_nan=True)
    finite = values[np.isfinite(values)]
    kept = thin.values[np.isfinite(thin.values)]
    assert kept.min() == finite.min()
    # A stretch with what is not finite shows that as its highest.
    assert len(finite) < count or kept.max() == finite.max()
    assert np.isfinite(values).all() == np.isfinite(thin.values).all()


def test_a_resumed_run_is_one_curve_and_an_unfinished_line_is_left_out(tmp_path):
    write_log(tmp_path, [dict(loss=9.0 - i, iter=i, step=i) for i in range(1, 8)])
    again = [dict(loss=1.0, iter=5, step=5), {'mim/acc': 3.0, 'step': 0}]
    write_log(tmp_path, again, '{"loss": 0.5, "iter": 6, "st', start='20260102_000000')
    (stage,) = read_run(tmp_path).stages
    assert stage.train['loss'].steps.tolist() == [1, 2, 3, 4, 5]
    assert stage.train['loss'].values.tolist() == [8, 7, 6, 5, 1]
    # mmengine counts validations by epochs, of which such a run has none.
    assert stage.val['mim/acc'].steps.tolist() == [5]


def test_of_two_entries_at_one_place_the_newer_counts(tmp_path):
    write_log(tmp_path, [dict(loss=2.0, iter=10), *({'mIoU': v, 'step': 0} for v in (3.0, 4.0))])
    (stage,) = read_run(tmp_path).stages
    assert [curve.tolist() for curve in stage.val['mIoU']] == [[10], [4]]


def test_validations_between_two_lines_of_training_are_points_by_themselves(tmp_path):
    entries = [{'mIoU': 3.0, 'step': 4}, dict(loss=2.0, iter=5, step=5), {'mIoU': 1.0, 'step': 8}]
    write_log(tmp_path, entries)
    # Gone on from iteration 6.
    again = [{'mIoU': 2.0, 'step': 8}, dict(loss=1.0, iter=10), {'mIoU': 5.0, 'step': 12}]
    write_log(tmp_path, again, start='20260102_000000')
    (stage,) = read_run(tmp_path).stages
    assert stage.val['mIoU'].steps.tolist()[0] == 4
    assert stage.val['mIoU'].steps.tolist()[-1] == 12
    assert (np.diff(stage.val['mIoU'].steps) > 0).all()


def test_the_later_part_of_a_curve_has_a_point_at_least():
    curve = Curve(np.arange(10.0), np.arange(10.0) ** 2)
    assert [curve.later(share).steps.tolist() for share in (0.3, 0.001)] == [[7, 8, 9], [9]]


def test_numbers_that_are_not_finite_are_read_as_they_were_written(tmp_path):
    write_log(tmp_path, [dict(loss=v, iter=i) for i, v in enumerate([2.0, math.nan, math.inf])])
    (stage,) = read_run(tmp_path).stages
    assert stage.train['loss'].values.tolist() == pytest.approx(
        [2, math.nan, math.inf], nan_ok=True
    )
    (said,) = [f for f in look_for_what_is_wrong(read_run(tmp_path)) if 'not finite' in f.title]
    assert 'In 2 of 3 entries of the log, first at iteration 1.' in said.evidence


def test_a_long_log_is_read_in_bounded_memory(tmp_path):
    vis_data = write_log(tmp_path, [])
    with (vis_data / 'scalars.json').open('w') as file:
        for step in range(1, 200_001):
            file.write(f'{{"loss": {1 / step}, "iter": {step}}}\n')
    (stage,) = read_run(tmp_path).stages
    curve = stage.train['loss']
    assert len(curve.steps) == 200_000
    assert curve.steps.nbytes + curve.values.nbytes == 16 * 200_000


@pytest.mark.parametrize('make', ['none', 'empty', 'others'])
def test_what_holds_no_run_is_told_in_a_line(tmp_path, make):
    folder = tmp_path / 'run'
    if make != 'none':
        (folder / 'a/b/c/d/e').mkdir(parents=True)
    if make == 'others':
        (folder / 'photo.png').write_bytes(b'')
    with pytest.raises(ConfigError, match=r'there is no such folder|holds no log of a run'):
        read_run(folder)


def test_a_config_is_read_without_being_run(tmp_path):
    text = (
        "model = dict(type='beit_mm.BEiT', depths=(1, 2), arch={'a': -1.5})\n"
        "train_dataloader = dict(batch_size=4, sampler=dict(type='beit_mm.PlacedSampler', "
        "sampler=dict(type='DefaultSampler')))\n"
        f'work_dir = __import__("pathlib").Path({str(tmp_path / "hacked")!r}).touch()\n'
    )
    config = settings_in_text(text)
    assert not (tmp_path / 'hacked').exists()
    assert config['model'] == dict(type='beit_mm.BEiT', depths=(1, 2), arch=dict(a=-1.5))
    assert config['work_dir'].startswith('__import__')
    # Without what the start of a run puts around it.
    assert settings_of(config) == {
        'model.type': 'BEiT',
        'model.depths': [1, 2],
        'model.arch.a': -1.5,
        'train_dataloader.batch_size': 4,
        'train_dataloader.sampler.type': 'DefaultSampler',
    }


LINE = '2026/01/0{} 00:00:0{} - mmengine - {} - {}\n'


def test_the_text_logs_of_two_starts_tell_machine_place_and_warnings(tmp_path):
    first = (
        LINE.format(1, 0, 'INFO', '\nSystem environment:')
        + '    sys.platform: linux\n    GPU number: 2\n    Shell: not told\n'
        + LINE.format(1, 1, 'INFO', 'What is fast on this machine:')
        + '  flash attention\n  AMX\n'
        + LINE.format(1, 2, 'WARNING', 'Odd.') * 2
        + LINE.format(1, 3, 'INFO', 'Epoch(train)   [1][20/20]  loss: 1')
        + LINE.format(1, 4, 'INFO', 'Epoch(val) [1][5/5]  acc: 1')
    )
    second = LINE.format(2, 5, 'INFO', 'Epoch(train)   [3][ 7/20]  loss: 1')
    config = 'train_cfg = dict(max_epochs=4)\ntrain_dataloader = dict(batch_size={})\n'
    for number, text in ((1, first), (2, second)):
        vis_data = write_log(tmp_path, [], start=f'2026010{number}_000000')
        (vis_data.parent / f'2026010{number}_000000.log').write_text(text)
        (vis_data / 'config.py').write_text(config.format(8 * number))
    (stage,) = read_run(tmp_path).stages
    told = stage.told
    assert told.machine == {'sys.platform': 'linux', 'GPU number': '2'}
    assert told.fast == ['flash attention', 'AMX']
    assert told.warnings == {'Odd.': 2}
    assert (told.starts, told.an_epoch, told.reached) == (2, 20, 47)
    assert (f'{told.begun:%d %S}', f'{told.ended:%d %S}') == ('01 00', '02 05')
    # The newer config counts, on two devices; four epochs were to be.
    assert (stage.images_a_step, stage.planned) == (32, 80)
    for name in ('epoch_10.pth', 'epoch_9.pth', 'best_epoch_11.pth'):
        (tmp_path / name).write_bytes(b'')
    (stage,) = read_run(tmp_path).stages
    assert (stage.last_checkpoint, stage.reached) == ('epoch_10.pth', 200)


def test_an_epoch_begins_at_the_first_of_its_entries(tmp_path):
    write_log(tmp_path, [dict(loss=1.0, epoch=1 + i // 3, iter=i) for i in range(1, 9)])
    (stage,) = read_run(tmp_path).stages
    assert stage.epochs == {1: 1, 2: 3, 3: 6}


def test_stages_stand_in_the_order_in_which_they_ran(tmp_path):
    for second, name in enumerate(('c', 'a', 'b')):
        start = write_log(tmp_path / '20260101_000000' / name, []).parent
        (start / f'{start.name}.log').write_text(LINE.format(1, second, 'INFO', 'begun'))
    assert [stage.name for stage in read_run(tmp_path).stages] == ['c', 'a', 'b']
