"""A folder of 1,000 photos, some of each broken kind: training ends, counts, or stops."""

import io
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent / 'datasets'))
from noisy_run import KillAt, Killed
from photos import broken_kinds, write_folder

from beit_mm.datasets import BrokenImage, ReplacingDataset
from beit_mm.datasets.photo_folder import read_excluded
from beit_mm.engine import RunStopped
from beit_mm.engine.running.exact_resume import exact_train_cfg
from beit_mm.registry import DATASETS

ROOT = Path(__file__).parent.parent.parent
BROKEN = tuple(broken_kinds())
run_numbers = itertools.count()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """1,000 photos; 25 of them, five of each of five kinds, are broken."""
    folder = tmp_path_factory.mktemp('photos') / 'train'
    broken = write_folder(folder, 1000, 5)
    assert (len(list(folder.iterdir())), len(broken)) == (1000, 25)
    return folder


def broken_of(folder) -> set[str]:
    return {str(p) for p in folder.iterdir() if any(k in p.name for k in BROKEN)}


class Mean(BaseModel):
    """Learns nothing, remembers what it saw."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.seen = []

    def forward(self, inputs, data_samples=None, mode='tensor'):
        assert len(inputs) == len(data_samples)
        # One and two are the look at what a step takes of memory.
        if len(inputs) > 2:
            self.seen += [sample.img_path for sample in data_samples]
        return dict(loss=(self.weight * torch.stack(list(inputs)).float().mean()).sum())


def settings(folder, **dataset):
    return dict(
        type='beit_mm.PhotoFolder',
        data_root=str(folder.parent),
        data_prefix=folder.name,
        with_label=False,
        pipeline=[
            dict(type='beit_mm.LoadPhoto'),
            dict(type='torchvision/RandomResizedCrop', size=8),
            dict(type='PackInputs'),
        ],
        **dataset,
    )


def train(folder, work_dir, max_share, epochs=1, hooks=(), resume=False, workers=2, **dataset):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        runner = Runner(
            model=Mean(),
            work_dir=str(work_dir),
            train_dataloader=dict(
                dataset=settings(folder, **dataset),
                batch_size=50,
                num_workers=workers,
                sampler=dict(type='DefaultSampler', shuffle=True),
                collate_fn=dict(type='default_collate'),
            ),
            train_cfg=exact_train_cfg(dict(by_epoch=True, max_epochs=epochs)),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=1e-3)),
            default_scope='mmpretrain',
            default_hooks=dict(
                checkpoint=dict(type='beit_mm.WholeCheckpointHook', by_epoch=False, interval=4),
                broken_images=dict(type='beit_mm.BrokenImagesHook', max_share=max_share),
            ),
            custom_hooks=[dict(type='beit_mm.PublicWeightsHook'), *hooks],
            randomness=dict(seed=0),
            resume=resume,
            log_level='WARNING',
            experiment_name=f'test_broken_images_{next(run_numbers)}',
        )
        runner.train()
    return runner


def test_training_ends_and_counts_right(folder, tmp_path, capsys):
    runner = train(folder, tmp_path, max_share=0.03)
    broken = broken_of(folder)
    model = runner.model
    # Every batch is full, and of whole photos alone.
    assert len(model.seen) == 1000
    assert not broken & set(model.seen)
    # In one pass each of the others is seen, and so many a second time as were replaced.
    assert len(set(model.seen)) == 975
    log = capsys.readouterr().out
    lines = [line for line in log.splitlines() if 'Left out' in line]
    # A replacement can be broken itself.
    count = runner.message_hub.get_info('broken_images')
    assert count == dict(broken=len(lines), drawn=1000)
    assert 25 <= count['broken'] <= 30
    assert f'({count["broken"]} of ' in lines[-1]
    for path in broken:
        assert any(f'another drawn: {path}: ' in line for line in lines)
    for reason in ('truncated', 'is empty', 'cannot identify', 'decompression bomb'):
        assert reason in log


def test_too_many_stop_the_run_by_a_plain_error(folder, tmp_path):
    with pytest.raises(RunStopped, match=r'21 of \d+ photos .*max_share.* 0\.02,.*beit-mm check'):
        train(folder, tmp_path, max_share=0.02)
    with pytest.raises(RunStopped, match='1 of '):
        train(folder, tmp_path / 'none', max_share=0)


def test_a_resumed_run_replaces_and_counts_as_if_undisturbed(folder, tmp_path):
    whole = train(folder, tmp_path / 'whole', max_share=0.03, workers=0)
    with pytest.raises(Killed):
        train(folder, tmp_path / 'killed', max_share=0.03, hooks=[KillAt(8)])
    resumed = train(folder, tmp_path / 'killed', max_share=0.03, resume=True, workers=1)
    assert resumed.model.seen == whole.model.seen[8 * 50 :]
    counts = [run.message_hub.get_info('broken_images') for run in (whole, resumed)]
    assert counts[0] == counts[1]


def check(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, ROOT / 'tools/check_images.py', *map(str, arguments)],
        env={**os.environ, 'PYTHONPATH': str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_tool_finds_them_beforehand_and_the_dataset_leaves_them_out(folder, tmp_path):
    result = check(folder.parent, tmp_path / 'all.txt', '--workers', 2)
    assert result.returncode == 0, result.stderr
    assert '25 of 1000 images cannot be decoded' in result.stderr
    listed = read_excluded(tmp_path / 'all.txt')
    assert listed == {f'train/{Path(path).name}' for path in broken_of(folder)}
    # What is in the others follows.
    assert result.stdout.startswith((tmp_path / 'all.txt').read_text())

    assert check(folder, tmp_path / 'broken.txt').returncode == 0
    run = train(folder, tmp_path / 'run', max_share=0, exclude=str(tmp_path / 'broken.txt'))
    assert run.message_hub.get_info('broken_images')['broken'] == 0
    assert not broken_of(folder) & set(run.model.seen)
    assert len(run.train_dataloader.dataset) == 975


def test_the_tool_says_what_is_no_folder(tmp_path):
    result = check(tmp_path / 'nothing')
    assert result.returncode == 2
    assert f'{tmp_path}/nothing: there is no such folder' in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize('line', ['/etc/passwd', '../other/a.jpg', 'a/../../b.jpg', '\treason'])
def test_a_list_cannot_leave_its_folder(tmp_path, line):
    path = tmp_path / 'list.txt'
    path.write_text(f'good.jpg\ttruncated\n{line}\n')
    with pytest.raises(ValueError, match=r'list\.txt, line 2'):
        read_excluded(path)


def test_blank_lines_and_a_mark_of_order_exclude_nothing(tmp_path):
    (tmp_path / 'list.txt').write_text('\ufeffa b.jpg\ttruncated\r\n\nc.jpg\n \n', newline='')
    assert read_excluded(str(tmp_path / 'list.txt')) == {'a b.jpg', 'c.jpg'}


@pytest.mark.parametrize(
    ('names', 'listed', 'said'),
    [
        (['b.jpg'], '', ['1 of its 1 names left out']),
        (['b.jpg', 'gone.jpg', 'x/b.jpg'], '', ['1 of its 3 names left out', '2 of its 3 names are '
                                              'not in FOLDER: gone.jpg, ...']),
        # Held out by the list, and so none of the data set's.
        (['b.jpg'], 'a.jpg\n', ['0 of its 1 names left out']),
        (['train/b.jpg', 'gone.jpg'], '', None),
        ([], '', ['0 of its 0 names left out']),
    ],
)  # fmt: skip
def test_a_list_of_another_folder_is_told(tmp_path, monkeypatch, names, listed, said):
    (tmp_path / 'train').mkdir()
    for name in ('a.jpg', 'b.jpg'):
        (tmp_path / 'train' / name).write_bytes(b'')
    (tmp_path / 'broken.txt').write_text(''.join(f'{name}\tempty\n' for name in names))
    (tmp_path / 'list.txt').write_text(listed)
    config = settings(tmp_path / 'train', exclude=str(tmp_path / 'broken.txt'))
    if listed:
        config['ann_file'] = str(tmp_path / 'list.txt')
    lines = []
    module = sys.modules['beit_mm.datasets.photo_folder']
    monkeypatch.setattr(module, 'print_log', lambda line, *level: lines.append(line))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        if said is None:
            with pytest.raises(ValueError, match=r'none of its 2 names, such as gone\.jpg, is in'):
                DATASETS.build(config)
            return
        dataset = DATASETS.build(config)
    assert len(dataset) == (2 if not names else 1)
    folder = str(tmp_path / 'train')
    assert [line.replace(folder, 'FOLDER').partition(': ')[2] for line in lines] == said


def test_other_loaders_errors_are_told_from_broken_photos(folder):
    """A loader that knows nothing of BrokenImage, and a pipeline with a mistake in it."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        config = settings(folder)
        config['pipeline'][0] = dict(type='LoadImageFromFile')
        config['pipeline'].insert(1, dict(type='NumpyToPIL', to_rgb=True))
        dataset = ReplacingDataset(config)
        paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
        empty = next(i for i, path in enumerate(paths) if path.endswith('empty.jpg'))
        np.random.seed(0)
        sample = dataset[empty]
        assert sample['data_samples'].broken_images[0] == (paths[empty], 'the file is empty')
        assert sample['data_samples'].img_path not in broken_of(folder)

        config['pipeline'].insert(2, dict(type='torchvision/RandomCrop', size=5000))
        with pytest.raises(Exception, match=r'(?i)crop size'):
            ReplacingDataset(config)[0]


def test_an_image_of_other_bands_and_depth_is_not_blamed_for_a_mistake():
    pixels = io.BytesIO()
    np.save(pixels, np.zeros((8, 8, 2), np.float32))

    class Photos:
        def __len__(self):
            return 1

        def __getitem__(self, index):
            raise RuntimeError('a mistake in the pipeline')

        def get_data_info(self, index):
            return dict(img_path='a.npy', img_bytes=pixels.getvalue())

    with pytest.raises(RuntimeError, match='a mistake'):
        ReplacingDataset(Photos())[0]


def test_a_folder_of_broken_photos_ends(tmp_path):
    (tmp_path / 'train').mkdir()
    for index in range(3):
        (tmp_path / 'train' / f'{index}.jpg').write_bytes(b'')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset = ReplacingDataset(DATASETS.build(settings(tmp_path / 'train')))
        with pytest.raises(BrokenImage, match='the file is empty'):
            dataset[0]
