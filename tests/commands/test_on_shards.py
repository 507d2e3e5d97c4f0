"""Commands on shards do what they do on the folder that the shards are of."""

import csv
import io
import json
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

sys.path.insert(0, str(Path(__file__).parent.parent / 'datasets'))
from failing_server import serving
from photos import encoded, pixels
from PIL import Image

from beit_mm.commands.main import main
from beit_mm.commands.sharded_photos import labelled_photos
from beit_mm.component import ConfigError
from beit_mm.datasets import PhotoShards
from beit_mm.engine.starting import stages
from beit_mm.models import BEiT

pytestmark = pytest.mark.usefixtures('forked_stages')


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """40 photos, others of which one is broken, and shards of both."""
    root = tmp_path_factory.mktemp('on_shards')
    for name, broken in (('photos', None), ('others', 7)):
        (root / name).mkdir()
        for number in range(40):
            content = encoded(Image.fromarray(pixels(number)), 'JPEG', quality=95)
            length = 200 if number == broken else len(content)
            (root / name / f'{number}.jpg').write_bytes(content[:length])
        out = root / f'{name}_in_shards'
        main(['shard', str(root / name), str(out), '--images', '15', '--verify'])
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('BEIT_MM_CACHE', str(tmp_path / 'cache'))


def path_of(root, name):
    """Where a photo lay that is called so in shards."""
    shard, _, member = name.partition('/')
    with tarfile.open(root / shard) as tar:
        about = tar.extractfile(str(Path(member).with_suffix('.json'))).read()
    return json.loads(about)['path']


def test_vectors_are_those_of_the_files(root, tmp_path, capsys):
    torch.manual_seed(0)
    arch = dict(embed_dims=24, num_layers=1, num_heads=2, feedforward_channels=48)
    model = BEiT(arch=arch, img_size=32, patch_size=8)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'weights.pth')
    weights = ['--weights', str(tmp_path / 'weights.pth')]
    with serving(root / 'others_in_shards') as server:
        for name, where in (('files', root / 'others'), ('shards', root / 'others_in_shards'),
                            ('store', server.url)):  # fmt: skip
            main(['embed', str(where), str(tmp_path / f'{name}.npz'), *weights])
    assert capsys.readouterr().err.count('left out') == 3
    files, shards, store = (np.load(tmp_path / f'{n}.npz') for n in ('files', 'shards', 'store'))
    by_name = dict(zip(files['files'].tolist(), files['features'], strict=True))
    assert len(shards['files']) == len(by_name) == 39
    for name, vector in zip(shards['files'].tolist(), shards['features'], strict=True):
        # Another batch adds up in another order.
        path = path_of(root / 'others_in_shards', name)
        np.testing.assert_allclose(vector, by_name[path], atol=1e-5)
    assert np.array_equal(store['features'], shards['features'])


@pytest.mark.slow
def test_a_pretraining_on_shards_runs_to_its_end_and_is_gone_on_with(
    root, tmp_path, monkeypatch, capfd
):
    # What reads from stores has a thread here, for which a fork of this process would wait forever.
    monkeypatch.setattr(stages, 'subprocess', subprocess)
    out = tmp_path / 'run'
    with serving(root / 'photos_in_shards') as server:
        run = ['pretrain', server.url, '--out', str(out)]
        main([*run, '--steps', '6', '--size', '32'])
        main([*run, '--resume', '--steps', '9'])
        with pytest.raises(SystemExit):
            main(['pretrain', str(root / 'photos_in_shards'), '--out', str(out), '--resume'])
    assert 'learns from http' in capfd.readouterr().err
    made = {path.name for path in out.iterdir()}
    assert made >= {'pretrained.pth', 'report.md', 'neighbours.png'}
    cfg = Config.fromfile(out / 'pretrain.py')
    assert cfg.train_dataloader.dataset.type == 'beit_mm.PhotoShards'
    assert cfg.train_dataloader.sampler.type == 'beit_mm.ShardSampler'
    names = [(out / f'{side}.txt').read_text().split() for side in ('train', 'val')]
    assert len({*names[0], *names[1]}) == 40
    assert Path((out / 'pretrain/last_checkpoint').read_text()).name == 'iter_9.pth'


def test_what_is_no_shard_in_a_store_is_told_in_a_line(root, tmp_path, capsys):
    with serving(root / 'photos') as server, pytest.raises(SystemExit):
        main(['pretrain', server.url, '--out', str(tmp_path / 'run')])
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert 'beit-mm pretrain: ' in said[0]


@pytest.mark.parametrize('numbers', [(0, 1, 2), (1, 2, 3), (9, 0, 10)])
@pytest.mark.parametrize('ending', ['cls', 'json'])
def test_labels_that_are_numbers_are_their_own_names(tmp_path, numbers, ending):
    with tarfile.open(tmp_path / 'a-000.tar', 'w') as tar:
        for index in range(18):
            picture, number = io.BytesIO(), numbers[index % 3]
            Image.fromarray(pixels(index)).save(picture, 'png')
            label = str(number) if ending == 'cls' else json.dumps(dict(label=number))
            for name, content in (('png', picture.getvalue()), (ending, label.encode())):
                member = tarfile.TarInfo(f'{index:03}.{name}')
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    photos = labelled_photos(tmp_path)
    assert photos.classes == [str(number) for number in sorted(numbers)]
    by_class = Counter(photos.labels[name] for name in photos.train)
    assert by_class == {str(number): 5 for number in numbers}
    # As a run lists them.
    lines = [f'{n} {photos.classes.index(photos.labels[n])}' for n in photos.val]
    (tmp_path / 'val.txt').write_text('\n'.join(lines))
    listed = PhotoShards(
        data_root=str(tmp_path), ann_file=str(tmp_path / 'val.txt'), pipeline=[],
        metainfo=dict(classes=photos.classes),
    )  # fmt: skip
    assert sorted(listed.get_data_info(i)['gt_label'] for i in range(3)) == [0, 1, 2]


@pytest.mark.parametrize('labels', [range(12), (1, 5, 10), 'ab'])
def test_labels_of_a_table_keep_their_order_in_shards(tmp_path, labels, capsys):
    rows = ['path,label']
    for index, label in enumerate([*labels] * 2):
        Image.new('RGB', (8, 8), (index, 0, 0)).save(tmp_path / f'{index}.png')
        rows.append(f'{index}.png,{label}')
    (tmp_path / 'table.csv').write_text('\n'.join(rows))
    main(['shard', str(tmp_path / 'table.csv'), str(tmp_path / 'shards')])
    shards = PhotoShards(data_root=str(tmp_path / 'shards'), pipeline=[])
    assert tuple(map(str, labels)) == shards.CLASSES
    for place in range(len(shards)):
        image = Image.open(io.BytesIO(shards.read_photo(place)))
        assert shards.get_data_info(place)['gt_label'] == image.getpixel((0, 0))[0] % len(labels)
    # What is renumbered is said.
    assert ('.cls numbers the labels 1, 5, 10 from 0' in capsys.readouterr().out) == (
        labels == (1, 5, 10)
    )


def test_shards_give_no_image_several_labels(tmp_path):
    for label in 'ab':
        (tmp_path / 'photos' / label).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(pixels(number)).save(tmp_path / f'photos/{label}/{number}.png')
    main(['shard', str(tmp_path / 'photos'), str(tmp_path / 'shards')])
    assert labelled_photos(tmp_path / 'shards', False).classes == ['a', 'b']
    for mark in (True, ',', ''):
        with pytest.raises(ConfigError, match=r'--multi-label is given, and .* has shards'):
            labelled_photos(tmp_path / 'shards', mark)


@pytest.mark.slow
def test_a_classifier_on_shards_has_the_labels_of_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    for label, seed in (('cat', 0), ('dog', 100)):
        (tmp_path / 'photos' / label).mkdir(parents=True)
        for number in range(12):
            content = encoded(Image.fromarray(pixels(seed + number)), 'PNG')
            (tmp_path / 'photos' / label / f'{number}.png').write_bytes(content)
    shards, out = tmp_path / 'shards', tmp_path / 'run'
    main(['shard', str(tmp_path / 'photos'), str(shards), '--images', '9'])
    run = ['finetune', str(shards), '--out', str(out), '--weights', 'none']
    main([*run, '--size', '32', '--steps', '4'])
    rows = list(csv.DictReader((out / 'predictions.csv').open()))
    # Two of twelve of each class.
    assert sorted(row['label'] for row in rows) == ['cat', 'cat', 'dog', 'dog']
    assert all(path_of(shards, row['path']).startswith(f'{row["label"]}/') for row in rows)
    lines = (out / 'train.txt').read_text().splitlines()
    assert len(lines) == 20
    for line in lines:
        name, _, number = line.rpartition(' ')
        assert path_of(shards, name).startswith(f'{("cat", "dog")[int(number)]}/')
    main([*run, '--resume', '--steps', '6'])
    assert 'resumed epoch: 0, iter: 4' in (out / 'finetune/output.txt').read_text()
