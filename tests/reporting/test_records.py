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
