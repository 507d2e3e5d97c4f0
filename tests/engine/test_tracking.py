"""--track: what lands in the files of TensorBoard, W&B and MLflow, read back."""

import json
import os
import struct
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image
from toy_run import make_photos

from beit_mm.component import ConfigError
from beit_mm.engine import track
from beit_mm.engine.checking.others_check import check_trackers
from beit_mm.engine.starting.tracking import logged_in_to_wandb

ROOT = Path(__file__).parent.parent.parent
ITERATIONS, EVERY = 4, 2
PICTURE = 'reconstructions.path'
OPTIONS = [
    f'train_cfg.max_iters={ITERATIONS}',
    f'train_cfg.val_interval={EVERY}',
    'default_hooks.logger.interval=1',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'train_dataloader.batch_size=4',
]


def environment():
    """Without what says that somebody is logged in somewhere."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(('WANDB_', 'MLFLOW_'))}
    return {**kept, 'OMP_NUM_THREADS': '1', 'NETRC': '/nowhere/netrc'}


def train(folder, *arguments, make=True):
    if make:
        make_photos(folder)
    # No fork of this process: the trackers have threads and processes of their own.
    return subprocess.run(
        [
            sys.executable,
            ROOT / 'tools/train.py',
            ROOT / 'configs/quickstart/dvae.py',
            '--work-dir',
            folder / 'run',
            *arguments,
            '--cfg-options',
            *OPTIONS,
            f'train_dataloader.dataset.data_root={folder}',
            f'val_dataloader.dataset.data_root={folder}',
        ],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def logged(work_dir):
    """(step, loss) and (step, error of the pictures) in the run's own log."""
    (log,) = work_dir.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return [
        [(line['step'], line[name]) for line in lines if name in line]
        for name in ('loss', 'tokenizer/recon_mse')
    ]


def of_local_folder(work_dir):
    """Step -> picture."""
    files = work_dir.glob('*/vis_data/vis_image/reconstructions_*.png')
    return {int(file.stem.rpartition('_')[2]): np.asarray(Image.open(file)) for file in files}


@pytest.fixture(scope='module')
def tracked(tmp_path_factory):
    """A run that both tell of, for one start less; its folder, and what it said."""
    names = [name for name in ('tensorboard', 'mlflow') if find_spec(name)]
    folder = tmp_path_factory.mktemp('tracked')
    result = train(folder, '--track', ','.join(names))
    assert result.returncode == 0, result.stdout[-2000:]
    return folder, result.stdout


@pytest.mark.slow
def test_tensorboard_has_the_runs_figures_and_pictures(request, tmp_path):
    pytest.importorskip('tensorboard')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder, _ = request.getfixturevalue('tracked')
    loss, error = logged(folder / 'run')
    assert [step for step, _ in loss] == [1, 2, 3, 4]
    # By iteration, where mmengine has 0 for every validation of a run that counts iterations.
    assert [step for step, _ in error] == [2, 4]
    (events,) = (folder / 'run').glob('*/vis_data/events.out.tfevents*')
    read = EventAccumulator(str(events), size_guidance=dict(images=0))
    read.Reload()
    for name, wanted in (('loss', loss), ('tokenizer/recon_mse', error)):
        found = [(event.step, event.value) for event in read.Scalars(name)]
        assert found == [(step, pytest.approx(value)) for step, value in wanted]
    pictures = of_local_folder(folder / 'run')
    assert set(pictures) == {2, 4}
    assert not np.array_equal(pictures[2], pictures[4]), 'the tokenizer has learned between'
    images = {event.step: event.encoded_image_string for event in read.Images('reconstructions')}
    assert set(images) == set(pictures)
    for step, encoded in images.items():
        (tmp_path / 'image.png').write_bytes(encoded)
        assert np.array_equal(np.asarray(Image.open(tmp_path / 'image.png')), pictures[step])


def history_of(wandb_file):
    """Rows that were logged, by the format that W&B's files share with LevelDB's logs."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, place, row, rows = wandb_file.read_bytes(), 7, b'', []
    while place < len(content):
        if 2**15 - place % 2**15 < 7:
            place += 2**15 - place % 2**15
            continue
        _, length, kind = struct.unpack_from('<IHB', content, place)
        row += content[place + 7 : place + 7 + length]
        place += 7 + length
        # 1: whole; 4: the last part.
        if kind in (1, 4):
            record, row = Record(), b''.join((row,))
            record.ParseFromString(row)
            row = b''
            items = record.history.item
            rows.append({i.key or '.'.join(i.nested_key): json.loads(i.value_json) for i in items})
    return [row for row in rows if row]


def test_wandb_keeps_them_in_the_work_directory(tmp_path):
    pytest.importorskip('wandb')
    (tmp_path / 'code_of_mine.py').write_text('secret = 1\n')
    result = train(tmp_path, '--track', 'wandb')
    assert result.returncode == 0, result.stdout[-2000:]
    (file,) = (tmp_path / 'run').glob('*/vis_data/wandb/offline-run-*/run-*.wandb')
    rows = history_of(file)
    loss, error = logged(tmp_path / 'run')
    for name, wanted in (('loss', loss), ('tokenizer/recon_mse', error)):
        found = [(row['iter'], row[name]) for row in rows if name in row]
        assert found == [(step, pytest.approx(value)) for step, value in wanted]
    pictures = {row['iter']: row[PICTURE] for row in rows if PICTURE in row}
    assert set(pictures) == {2, 4}
    for step, picture in of_local_folder(tmp_path / 'run').items():
        saved = file.parent / 'files' / pictures[step]
        assert np.array_equal(np.asarray(Image.open(saved).convert('RGB')), picture)
    assert b'code_of_mine' not in file.read_bytes(), 'nobody asked for a copy of the code'


@pytest.mark.slow
def test_mlflow_keeps_them_in_the_work_directory(request):
    pytest.importorskip('mlflow')
    from mlflow.tracking import MlflowClient

    folder, said = request.getfixturevalue('tracked')
    assert 'server is running' not in said, 'there is none, and none is needed'
    assert not (folder / 'mlruns').exists()
    client = MlflowClient(f'sqlite:///{folder}/run/mlflow/mlflow.db')
    experiment = client.get_experiment_by_name('dvae')
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ('run', 'FINISHED')
    assert run.data.params['model.vocab_size'] == '128'
    loss, error = logged(folder / 'run')
    for name, wanted in (('loss', loss), ('tokenizer/recon_mse', error)):
        found = [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
        assert sorted(found) == [(step, pytest.approx(value)) for step, value in wanted]
    for step, picture in of_local_folder(folder / 'run').items():
        (saved,) = (folder / 'run/mlflow/artifacts').rglob(f'reconstructions_{step}.png')
        assert np.array_equal(np.asarray(Image.open(saved)), picture)


@pytest.mark.slow
def test_a_run_that_does_not_start_leaves_nothing(tmp_path):
    """Trackers begin with the Runner, before the first batch is looked at."""
    for name in ('tensorboard', 'wandb', 'mlflow'):
        pytest.importorskip(name)
    photos = make_photos(tmp_path)
    for photo in photos.glob('val/*/*.png'):
        photo.write_bytes(b'no photo')
    result = train(tmp_path, '--track', 'tensorboard,wandb,mlflow', make=False)
    assert 'val_dataloader.dataset: its first sample cannot be made' in result.stdout
    assert result.returncode == 2
    assert 'Traceback' not in result.stdout
    assert not (tmp_path / 'run').exists()


def test_a_tracker_that_is_not_installed_is_told_with_the_extra(monkeypatch):
    cfg = config()
    track(cfg, ['tensorboard', 'wandb', 'mlflow'])
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    for package, said in zip(('tensorboard', 'wandb', 'mlflow'), check_trackers(cfg), strict=True):
        assert f'needs the package {package}, which is not installed' in said
        assert said.endswith("pip install 'beit-mm[trackers]'")


def config(**settings):
    return Config(dict(work_dir='work_dirs/mine', **settings), filename=None)


def kinds(cfg):
    return [backend['type'] for backend in cfg.visualizer.vis_backends]


def test_trackers_stand_beside_what_the_config_has():
    cfg = config()
    track(cfg, ['tensorboard'])
    assert kinds(cfg) == ['LocalVisBackend', 'TensorboardVisBackend']
    own = dict(type='SegLocalVisualizer', vis_backends=[dict(type='WandbVisBackend', commit=False)])
    cfg = config(visualizer=own, default_hooks=dict(logger=None))
    track(cfg, ['wandb, tensorboard', 'tensorboard'])
    assert kinds(cfg) == ['WandbVisBackend', 'TensorboardVisBackend']
    assert cfg.visualizer.type == 'SegLocalVisualizer'
    assert cfg.default_hooks.logger is None
    cfg = config()
    track(cfg, [])
    assert 'visualizer' not in cfg


def test_an_unknown_tracker_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"'tensorbord'.*did you mean 'tensorboard'"):
        track(config(), ['wandb,tensorbord'])


@pytest.mark.parametrize(
    ('variables', 'netrc', 'mode'),
    [
        ({}, '', 'offline'),
        ({'WANDB_MODE': 'online'}, '', None),
        ({'WANDB_API_KEY': 'k'}, '', None),
        ({}, 'machine api.wandb.ai login user password k', None),
        ({}, 'machine example.com login user password k', 'offline'),
        (
            {'WANDB_BASE_URL': 'https://example.com/'},
            'machine example.com login u password k',
            None,
        ),
        ({}, 'machine', 'offline'),
    ],
)
def test_wandb_is_offline_for_who_is_not_logged_in(variables, netrc, mode, tmp_path, monkeypatch):
    for name in ('WANDB_MODE', 'WANDB_API_KEY', 'WANDB_BASE_URL'):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (tmp_path / 'netrc').write_text(netrc)
    monkeypatch.setenv('NETRC', str(tmp_path / 'netrc'))
    cfg = config()
    track(cfg, ['wandb'])
    assert cfg.visualizer.vis_backends[1].init_kwargs.get('mode') == mode


def test_who_has_no_home_is_not_logged_in(tmp_path, monkeypatch):
    monkeypatch.delenv('WANDB_API_KEY', raising=False)
    monkeypatch.delenv('NETRC', raising=False)
    monkeypatch.setenv('HOME', str(tmp_path))
    assert not logged_in_to_wandb()


def test_mlflows_server_is_asked_where_one_is_named(monkeypatch):
    monkeypatch.setenv('MLFLOW_TRACKING_URI', 'http://example.com:5000')
    cfg = config()
    track(cfg, ['mlflow'])
    backend = cfg.visualizer.vis_backends[1]
    assert backend.tracking_uri == 'http://example.com:5000'
    assert 'artifact_location' not in backend
