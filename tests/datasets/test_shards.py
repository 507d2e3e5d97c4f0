"""Tar shards: read beside webdataset and tarfile, written to the byte, sampled few at a time."""

import io
import itertools
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import tarfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset
from failing_server import serving
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.dataset import DefaultSampler
from photos import broken_kinds, encoded, pixels
from PIL import Image

from beit_mm.commands.sharding import shard
from beit_mm.component import ConfigError
from beit_mm.datasets import (
    BrokenImage,
    LoadPhoto,
    LoadTwoViews,
    PhotoShards,
    PlacedSampler,
    ReplacingDataset,
    ShardSampler,
)
from beit_mm.datasets.reading.known_formats import readable_formats
from beit_mm.datasets.sources import stores, writing_shards
from beit_mm.datasets.sources.finding_shards import find_shards, is_shards

SHARD_SAMPLER = 'beit_mm.datasets.sources.shard_sampler'


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('BEIT_MM_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(stores, 'FIRST_PAUSE', 0.001)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """36 photos of three classes."""
    folder = tmp_path_factory.mktemp('photos') / 'birds'
    for number in range(36):
        path = folder / ('owl', 'jay', 'tit')[number % 3] / f'{number}.some.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(Image.fromarray(pixels(number)), 'JPEG'))
    return folder


@pytest.fixture(scope='module')
def shards(folder, tmp_path_factory):
    """They in shards of five."""
    return shard(folder, tmp_path_factory.mktemp('out') / 'shards', images=5)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# ----------------------------------------------------------------------------------------------
# Written
# ----------------------------------------------------------------------------------------------


def test_every_image_is_in_the_shards_once_with_its_class(folder, shards):
    """As webdataset reads them, which knows nothing of the index."""
    urls = sorted(map(str, shards.glob('*.tar')))
    assert len(urls) == 8
    classes = json.loads((shards / 'index.json').read_text())['classes']
    assert classes == ['jay', 'owl', 'tit']
    found, keys = {}, []
    for sample in webdataset.WebDataset(urls, shardshuffle=False, empty_check=False):
        about = json.loads(sample['json'])
        keys.append(sample['__key__'])
        found[about['path']] = sample['jpg']
        assert classes[int(sample['cls'])] == about['label'] == Path(about['path']).parent.name
    expected = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob('*.jpg')}
    assert found == expected
    assert keys == [f'{number:08d}' for number in range(36)]


def test_the_data_set_reads_what_tarfile_reads(shards):
    dataset = PhotoShards(str(shards))
    assert len(dataset) == 36
    assert dataset.metainfo['classes'] == ('jay', 'owl', 'tit')
    number = 0
    for path in sorted(shards.glob('*.tar')):
        with tarfile.open(path) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar}
        for name in (name for name in members if name.endswith('.jpg')):
            sample = dataset[number]
            assert sample['img_path'] == f'{path}/{name}'
            assert sample['img_bytes'] == members[name]
            assert sample['gt_label'] == int(members[name.replace('.jpg', '.cls')])
            assert dataset.shard_numbers()[number] == int(path.stem[-6:])
            number += 1
    assert number == 36
    assert dataset.get_gt_labels().tolist() == [dataset[i]['gt_label'] for i in range(36)]
    assert dataset.get_cat_ids(4) == [dataset[4]['gt_label']]


def test_the_same_images_give_the_same_bytes(folder, shards, tmp_path):
    again = shard(folder, tmp_path / 'again', images=5)
    assert contents(again) == contents(shards)
    # There is nothing left to do, and nothing is done.
    before = {path: path.stat().st_mtime_ns for path in again.iterdir()}
    shard(folder, again, images=5)
    assert {path: path.stat().st_mtime_ns for path in again.iterdir()} == before
    with pytest.raises(ConfigError, match='holds shards of other files or settings'):
        shard(folder, again, images=6)
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other/thesis.tex').touch()
    with pytest.raises(ConfigError, match=r'holds other files, such as thesis\.tex'):
        shard(folder, tmp_path / 'other')


def test_shards_hold_stacks_as_files_and_no_images_of_them(tmp_path):
    (tmp_path / 'scans').mkdir()
    np.savez(tmp_path / 'scans/s.npz', a=np.zeros((40, 40, 40), np.uint8))
    assert len(PhotoShards(str(shard(tmp_path / 'scans', tmp_path / 'out')), with_label=False)) == 1
    (tmp_path / 'scans/list.csv').write_text('path,label\ns.npz#a/0,a\ns.npz#a/1,b\n')
    with pytest.raises(ConfigError, match=r's\.npz#a/0 is one of the images in .*s\.npz, and shar'):
        shard(tmp_path / 'scans/list.csv', tmp_path / 'of_list')


def test_shards_have_about_as_many_bytes_as_asked_for(folder, tmp_path):
    out = shard(folder, tmp_path / 'out', megabytes=0.005, no_labels=True)
    sizes = [sum(sample.length for sample in index.samples) for index in find_shards(out).indexes]
    largest = max(path.stat().st_size for path in folder.rglob('*.jpg'))
    assert all(5000 - largest < size <= 5000 for size in sizes[:-1])
    assert PhotoShards(str(out), with_label=False)[0].keys() >= {'img_bytes'}
    with pytest.raises(ValueError, match='has no label'):
        PhotoShards(str(out))


def test_what_has_no_ending_of_its_own_gets_one(tmp_path):
    """Whatever reads the shards goes by the endings of members; folders are no members."""
    (tmp_path / 'odd/deep.zarr').mkdir(parents=True)
    (tmp_path / 'odd/deep.zarr/.zarray').write_text('{}')
    contents = dict(png=encoded(Image.fromarray(pixels(1)), 'PNG'), jpg=jpeg(2))
    for ending, content in contents.items():
        (tmp_path / f'odd/scan-{ending}').write_bytes(content)
    (tmp_path / 'odd/head.nii.gz').write_bytes(b'whatever')
    out = shard(tmp_path / 'odd', tmp_path / 'out', no_labels=True)
    with tarfile.open(out / 'shard-000000.tar') as tar:
        found = {member.name.partition('.')[2]: tar.extractfile(member).read() for member in tar}
    assert {name: data for name, data in found.items() if name != 'json'} == {
        **contents,
        **({'nii.gz': b'whatever'} if 'nii' in readable_formats() else {}),
    }


def write(folder, out):
    shard(folder, out, images=2)


def test_killed_at_ten_places_it_goes_on_and_leaves_the_same_bytes(folder, tmp_path, monkeypatch):
    whole = contents(shard(folder, tmp_path / 'whole', images=2))
    context = multiprocessing.get_context('fork')
    slow, out = writing_shards._add, tmp_path / 'killed'

    def slowly(*arguments):
        time.sleep(0.004)
        return slow(*arguments)

    monkeypatch.setattr(writing_shards, '_add', slowly)
    kills = 0
    for number in range(10):
        process = context.Process(target=write, args=(folder, out))
        process.start()
        # A little further each time, in the middle of a shard or after it.
        wanted = out / f'shard-{number:06d}.tar'
        partial = wanted.with_name(f'.{wanted.name}.partial')
        while process.is_alive() and not (wanted if number % 2 else partial).exists():
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        assert not (out / 'index.json').exists()
        with pytest.raises(ValueError, match='is not finished'):
            find_shards(out)
    assert kills == 10
    with pytest.raises(ConfigError, match='the begin of shards of other files or settings'):
        shard(folder, out, images=3)
    # What a kill at the worst moment leaves.
    (out / 'shard-000009.tar.idx.0a.tmp').touch()
    made = (out / 'shard-000000.tar').stat().st_ino
    write(folder, out)
    assert contents(out) == whole
    # What was finished is not written again.
    assert (out / 'shard-000000.tar').stat().st_ino == made


def test_what_was_changed_in_a_shard_is_found(folder, shards, tmp_path, capsys):
    out = shard(folder, tmp_path / 'out', images=5, verify=True)
    path = out / 'shard-000003.tar'
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    (out / 'shard-000005.tar').write_bytes((out / 'shard-000005.tar').read_bytes()[:-512])
    (out / 'shard-000006.tar').unlink()
    index = out / 'shard-000007.tar.idx'
    index.write_text(index.read_text().replace('.jpg",', '.jpg",1', 1))
    with pytest.raises(ConfigError, match=r'4 of 8 shards of .* are damaged'):
        shard(out, verify=True)
    lines = [line for line in capsys.readouterr().out.splitlines() if '\t' in line]
    assert [Path(line.split('\t')[0]).name[-5] for line in lines] == ['3', '5', '6', '7']
    assert 'SHA-256' in lines[0]
    assert 'bytes' in lines[1]
    assert 'its members are others' in lines[3]


def test_train_and_val_and_tables_become_shards_too(folder, tmp_path):
    for name, side in (('owl', 'train'), ('jay', 'train'), ('owl', 'val'), ('jay', 'val')):
        (tmp_path / 'split' / side / name).mkdir(parents=True)
        source = folder / name / f'{dict(owl=0, jay=1)[name]}.some.jpg'
        (tmp_path / 'split' / side / name / 'a.jpg').write_bytes(source.read_bytes())
    out = shard(tmp_path / 'split', tmp_path / 'out')
    for side in ('train', 'val'):
        dataset = PhotoShards(str(out / side))
        assert sorted(dataset.get_gt_labels()) == [0, 1]
        assert dataset.CLASSES == ('jay', 'owl')
    rows = ['path,label', *(f'{k}/{n}.some.jpg,{k}' for k, n in (('owl', 0), ('tit', 2)))]
    (folder / 'table.csv').write_text('\n'.join(rows))
    dataset = PhotoShards(str(shard(folder / 'table.csv', tmp_path / 'table')))
    assert dataset.CLASSES == ('owl', 'tit')
    assert sorted(dataset.get_gt_labels()) == [0, 1]
    (folder / 'table.csv').unlink()


def test_hidden_files_and_links_in_circles_count_for_nothing(folder, tmp_path):
    """Some systems leave a hidden file beside each that they copy."""
    images = shutil.copytree(folder, tmp_path / 'images')
    (images / '._0.jpg').write_bytes(b'hidden')
    (images / 'loop.jpg').symlink_to('loop.jpg')
    out = shard(images, tmp_path / 'out')
    assert len(PhotoShards(str(out)).CLASSES) == len(list(folder.iterdir()))
    found = find_shards(out)
    (out / '._shard-000000.tar').write_bytes(b'hidden')
    (out / 'index.json').unlink()
    assert find_shards(out).shards[0].url == found.shards[0].url


# ----------------------------------------------------------------------------------------------
# Read
# ----------------------------------------------------------------------------------------------


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, 'w') as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def jpeg(seed: int) -> bytes:
    return encoded(Image.fromarray(pixels(seed)), 'JPEG')


def test_shards_of_webdatasets_own_making(tmp_path, monkeypatch):
    with webdataset.TarWriter(str(tmp_path / 'a-00.tar')) as tar:
        for number in range(4):
            tar.write({'__key__': f'x.y/{number}', 'jpg': jpeg(number), 'cls': number % 2,
                       'mask.png': b'no image of its own'})  # fmt: skip
    dataset = PhotoShards(str(tmp_path))
    assert [dataset.read_photo(i) for i in range(4)] == [jpeg(i) for i in range(4)]
    assert dataset.get_gt_labels().tolist() == [0, 1, 0, 1]
    assert str(find_shards(tmp_path)) == '4 images in 1 shards, left out: 4 mask.png'
    # Features beside an image are no image, wherever they stand.
    write_tar(tmp_path / 'b-00.tar', {'1.npy': b'', '1.jpg': jpeg(1), '1.npz': b''})
    assert PhotoShards(str(tmp_path / 'b-00.tar'), with_label=False).read_photo(0) == jpeg(1)
    (tmp_path / 'b-00.tar').unlink()
    # The index that was made lies in the cache, and is of this version of the shard.
    write_tar(tmp_path / 'a-00.tar', {'1.JPG': jpeg(7), '1.json': b'{"label": "owl"}',
                                      '2.png': b'', '2.jpg': b'', '2.cls': b'jay'})  # fmt: skip
    dataset = PhotoShards(str(tmp_path))
    assert dataset.CLASSES == ('jay', 'owl')
    read = [(s['gt_label'], s['img_bytes']) for s in dataset]
    assert read == [(1, jpeg(7)), (0, b'')]
    # Where nothing can be kept, nothing is.
    monkeypatch.setenv('BEIT_MM_CACHE', str(tmp_path / 'a-00.tar' / 'below a file'))
    assert [(s['gt_label'], s['img_bytes']) for s in PhotoShards(str(tmp_path))] == read
    assert 'another image of a sample' in str(find_shards(tmp_path))


@pytest.mark.parametrize(
    ('make', 'said'),
    [
        (lambda f: (f / 'a.tar').write_bytes(b'no tar' * 200), 'no whole tar file'),
        (lambda f: write_tar(f / 'a.tar.gz', {}), r'a\.tar\.gz is compressed'),
        (lambda f: None, 'there are no shards'),
        (lambda f: (f / 'index.json').write_text('{"shards": [{}]}'), 'lack name, size'),
        (lambda f: (f / 'index.json').write_text('[]'), 'is no index'),
        (
            lambda f: (f / 'a.tar').write_bytes(
                write_tar(f / 'b', {'1.jpg': bytes(9000)}).read_bytes()[:4000]
            ),
            r'a\.tar is no whole tar file',
        ),
    ],
)
def test_what_is_no_shard_is_told_in_a_line(tmp_path, make, said):
    folder = tmp_path / 'shards'
    folder.mkdir()
    make(folder)
    with pytest.raises(ValueError, match=said) as told:
        PhotoShards(str(folder))
    assert '\n' not in str(told.value)


def test_an_index_of_another_shard_is_told(shards, tmp_path):
    copy = shutil.copytree(shards, tmp_path / 'copy')
    shutil.copy(copy / 'shard-000001.tar.idx', copy / 'shard-000000.tar.idx')
    with pytest.raises(ValueError, match=r'shard-000000\.tar\.idx is of another shard'):
        find_shards(copy)


def test_a_shard_that_was_written_anew_is_read_anew(tmp_path):
    for label in (3, 4):
        path = write_tar(tmp_path / 'a.tar', {'0.jpg': b'an image', '0.cls': b'%d' % label})
        os.utime(path, (label, label))
        assert find_shards(path).indexes[0].samples[0].label == label


def test_a_list_takes_some_and_says_their_classes(shards, tmp_path):
    every = PhotoShards(str(shards))
    names = ['/'.join(Path(every[i]['img_path']).parts[-2:]) for i in (30, 2)]
    (tmp_path / 'list.txt').write_text(f'\ufeff{names[0]} 2\n\n{names[1]}\n\n')
    some = PhotoShards(str(shards), ann_file=str(tmp_path / 'list.txt'))
    assert [s['img_bytes'] for s in some] == [every[30]['img_bytes'], every[2]['img_bytes']]
    assert some.get_gt_labels().tolist() == [2, every[2]['gt_label']]
    (tmp_path / 'list.txt').write_text('shard-000000.tar/lost.jpg')
    with pytest.raises(ValueError, match='in none of the shards'):
        PhotoShards(str(shards), ann_file=str(tmp_path / 'list.txt'))


def test_it_is_a_data_set_like_any_of_mmengines(shards):
    plain = PhotoShards(str(shards))
    lazy = pickle.loads(pickle.dumps(PhotoShards(str(shards), lazy_init=True)))
    lazy.full_init()
    open_ = PhotoShards(str(shards), serialize_data=False, indices=[3, 1])
    assert [s['img_bytes'] for s in open_] == [plain[3]['img_bytes'], plain[1]['img_bytes']]
    assert len(PhotoShards(str(shards), indices=7)) == 7
    part = lazy.get_subset([20, 4])
    assert part.shard_numbers().tolist() == lazy.shard_numbers()[[20, 4]].tolist()
    lazy.get_subset_(5)
    assert (len(lazy), len(lazy.shard_numbers())) == (5, 5)
    with pytest.raises(ValueError, match='4 classes'):
        PhotoShards(str(shards), classes=['owl', 'jay', 'ant', 'bee'], ann_file='')._number_classes(
            [dict(shard=0, name='a', gt_label=9)], None
        )


def test_views_from_shards_are_those_from_files(folder, shards):
    """The bytes are the same, so is all that is made of them."""
    dataset = PhotoShards(str(shards), pipeline=[LoadTwoViews(size=32, second_size=16)])
    for index in (0, 20):
        with tarfile.open(Path(dataset.get_data_info(index)['img_path']).parent) as tar:
            name = Path(dataset.get_data_info(index)['img_path']).stem
            path = folder / json.loads(tar.extractfile(f'{name}.json').read())['path']
        np.random.seed(3)
        sample = dataset[index]
        np.random.seed(3)
        expected = LoadTwoViews(size=32, second_size=16)(dict(img_path=str(path)))
        assert all(map(torch.equal, sample['img'], expected['img']))
        photo = LoadPhoto()(dict(img_path='a', img_bytes=dataset.read_photo(index)))['img']
        assert np.array_equal(photo, LoadPhoto()(dict(img_path=str(path)))['img'])


# ----------------------------------------------------------------------------------------------
# Broken ones
# ----------------------------------------------------------------------------------------------


class Packed(PhotoShards):
    def __getitem__(self, index):
        from mmengine.structures import BaseDataElement

        sample = super().__getitem__(index)
        return dict(
            inputs=np.asarray(sample['img']),
            data_samples=BaseDataElement(metainfo=dict(img_path=sample['img_path'])),
        )


def replaced(dataset) -> dict[int, list]:
    """Index -> what is noted of broken ones."""
    np.random.seed(0)
    replacing = ReplacingDataset(dataset)
    samples = [replacing[index]['data_samples'] for index in range(len(dataset))]
    notes = [getattr(sample, 'broken_images', []) for sample in samples]
    return {index: note for index, note in enumerate(notes) if note}


def test_broken_damaged_and_vanished_samples_are_replaced_and_noted(tmp_path):
    folder = tmp_path / 'shards'
    folder.mkdir()
    broken = broken_kinds()
    good = {f'{n}.jpg': jpeg(n) for n in range(9)}
    bad = {f'x{n}.{name[-3:]}': broken[name] for n, name in enumerate(broken)}
    write_tar(folder / '0.tar', {**good, **bad})
    write_tar(folder / '1.tar', {'a.jpg': jpeg(0)})
    write_tar(folder / '2.tar', {f'{n}.jpg': jpeg(n) for n in range(3)})
    dataset = Packed(str(folder), with_label=False, pipeline=[LoadPhoto()])
    assert set(replaced(dataset)) == set(range(9, 9 + len(broken)))
    # After the run has begun a shard vanishes, one is cut off, and a byte of another turns.
    (folder / '1.tar').unlink()
    content = bytearray((folder / '0.tar').read_bytes())
    content[dataset.get_data_info(4)['place'][0] + 50] ^= 1
    (folder / '0.tar').write_bytes(content)
    os.truncate(folder / '2.tar', 512 + 100)
    notes = replaced(dataset)
    after = 9 + len(broken)
    assert set(notes) == {4, *range(9, after), after, *range(after + 1, after + 4)}
    assert notes[4][0][0] == f'{folder}/0.tar/4.jpg'
    assert 'checksum is another' in notes[4][0][1]
    assert 'No such file' in notes[after][0][1]
    assert 'bytes came in place of' in notes[after + 1][0][1]
    with pytest.raises(BrokenImage, match=r'4\.jpg cannot be decoded'):
        dataset[4]


@pytest.mark.parametrize('fetch', ['shards', 'ranges'])
def test_a_store_that_fails_for_good_for_one_shard_costs_its_samples_alone(
    shards, monkeypatch, fetch
):
    monkeypatch.setenv('BEIT_MM_STORE_TRIES', '12')
    with serving(shards, share=0.3) as server:
        dataset = Packed(server.url, pipeline=[LoadPhoto()], fetch=fetch)
        monkeypatch.setenv('BEIT_MM_STORE_TRIES', '4')
        server.share, server.always = 0.0, ['shard-000002.tar']
        notes = replaced(dataset)
        assert set(notes) == set(np.flatnonzero(dataset.shard_numbers() == 2).tolist())
        assert all('tried 4 times' in note[0][1] for note in notes.values())


# ----------------------------------------------------------------------------------------------
# From a store
# ----------------------------------------------------------------------------------------------


def test_a_server_and_a_pattern_give_what_the_folder_gives(shards, monkeypatch):
    monkeypatch.setenv('BEIT_MM_STORE_TRIES', '20')
    local = PhotoShards(str(shards))
    with serving(shards, share=0.3, seed=1) as server:
        assert is_shards(server.url)
        pattern = f'{server.url}/shard-{{000000..000007}}.tar'
        for where, fetch in ((server.url, None), (server.url, 'ranges'), (pattern, None)):
            remote = PhotoShards(where, fetch=fetch)
            assert [s['img_bytes'] for s in remote] == [s['img_bytes'] for s in local]
            assert [s['gt_label'] for s in remote] == [s['gt_label'] for s in local]
        assert remote[3]['img_path'].startswith(f'{server.url}/shard-000000.tar/')
        shard(server.url, verify=True)


@pytest.mark.parametrize(
    ('size', 'chosen'), [('1GB', 'shards'), ('20K', 'ranges'), ('0', 'ranges')]
)
def test_shards_that_do_not_fit_are_not_fetched_whole(shards, monkeypatch, size, chosen):
    monkeypatch.setenv('BEIT_MM_CACHE_SIZE', size)
    with serving(shards) as server:
        dataset = PhotoShards(server.url)
        assert dataset.fetch == chosen
        del server.asked[:]
        for index in np.random.default_rng(0).permutation(36).tolist():
            assert dataset[index]['img_bytes']
        assert len(server.asked) == (8 if chosen == 'shards' else 36)


def test_a_window_at_a_time_fetches_each_shard_once(shards, tmp_path, monkeypatch):
    """With room for two windows, of the shards that one epoch after the other takes."""
    largest = max(path.stat().st_size for path in shards.glob('*.tar'))
    monkeypatch.setenv('BEIT_MM_CACHE_SIZE', str(int(2 * 2 * largest / 0.9)))
    with serving(shards) as server:
        dataset = PhotoShards(server.url, fetch='shards')
        sampler = ShardSampler(dataset, seed=0, window=2)
        for epoch in range(3):
            del server.asked[:]
            sampler.set_epoch(epoch)
            for index in sampler:
                dataset.read_photo(index)
            assert len(server.asked) == len({path for path, *_ in server.asked}) <= 8
        copies = sum(path.stat().st_size for path in (tmp_path / 'cache/stores').glob('*/*'))
        assert copies <= 2 * 2 * largest / 0.9


# ----------------------------------------------------------------------------------------------
# The sampler
# ----------------------------------------------------------------------------------------------


class Numbered:
    """A data set of shards, of which only the numbers are known."""

    def __init__(self, sizes):
        self.numbers = np.repeat(np.arange(len(sizes)), sizes)

    def shard_numbers(self):
        return self.numbers

    def __len__(self):
        return len(self.numbers)


SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=30)
SEEDS = st.integers(0, 2**31)


def orders(sizes, world_size, epoch=0, module=None, **given):
    """The order of each process."""
    found = []
    for rank in range(world_size):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f'{SHARD_SAMPLER}.get_dist_info', lambda r=rank: (r, world_size))
            sampler = ShardSampler(Numbered(sizes), **given)
        sampler.set_epoch(epoch)
        found.append(list(sampler))
        assert len(found[-1]) == len(sampler)
    return found


@settings(deadline=None)
@given(SIZES, st.integers(1, 5), SEEDS, st.integers(0, 9), st.integers(1, 6))
def test_each_sample_comes_once_an_epoch_whoever_takes_it(sizes, world, seed, epoch, window):
    total = sum(sizes)
    exact = orders(sizes, world, epoch, seed=seed, window=window, round_up=False)
    assert sorted(itertools.chain(*exact)) == list(range(total))
    # As many for all: those of the begin come again, as with the stock sampler.
    rounded = orders(sizes, world, epoch, seed=seed, window=window)
    assert len({len(order) for order in rounded}) == 1
    alone = orders(sizes, 1, epoch, seed=seed, window=window)[0]
    together = [rounded[place % world][place // world] for place in range(world * len(rounded[0]))]
    assert together == (alone * world)[: len(together)]
    assert len(together) - total < world


@settings(deadline=None)
@given(SIZES, SEEDS, st.integers(1, 6), st.data())
def test_few_shards_are_read_at_a_time(sizes, seed, window, data):
    order = orders(sizes, 1, seed=seed, window=window)[0]
    numbers = Numbered(sizes).numbers[order]
    # A shard is open from its first sample to its last.
    begins = {n: np.flatnonzero(numbers == n)[0] for n in set(numbers.tolist())}
    ends = {n: np.flatnonzero(numbers == n)[-1] for n in begins}
    place = data.draw(st.integers(0, len(order) - 1))
    assert sum(begins[n] <= place <= ends[n] for n in begins) <= window


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(0, 5))
def test_another_epoch_or_seed_is_another_order(seed, epoch):
    sizes = [7] * 12
    one = orders(sizes, 1, epoch, seed=seed)
    assert one == orders(sizes, 1, epoch, seed=seed)
    assert one != orders(sizes, 1, epoch + 1, seed=seed)
    assert one != orders(sizes, 1, epoch, seed=seed + 1)


def test_windows_and_the_orders_in_them_are_drawn_evenly():
    """All orders of two shards of two samples, and all pairs of four shards, are as likely."""
    inside, first = Counter(), Counter()
    for epoch in range(6000):
        inside[tuple(orders([2, 2], 1, epoch, seed=0, window=2)[0])] += 1
        first[frozenset(orders([1] * 4, 1, epoch, seed=0, window=2)[0][:2])] += 1
    assert len(inside) == 24
    assert len(first) == 6
    # Five standard deviations.
    assert all(abs(count - 250) < 78 for count in inside.values())
    assert all(abs(count - 1000) < 145 for count in first.values())


@settings(deadline=None, max_examples=30)
@given(SIZES, SEEDS, st.integers(0, 300))
def test_a_start_leaves_out_what_was_before_it(sizes, seed, start):
    config = dict(type='beit_mm.ShardSampler', window=3)
    whole, rest = (PlacedSampler(config, Numbered(sizes), seed=seed) for _ in range(2))
    whole.epoch = rest.epoch = 2
    rest.start = start
    assert [(int(p), p.numbers) for p in rest] == [(int(p), p.numbers) for p in whole][start:]


def test_without_shuffling_it_is_the_stock_sampler():
    dataset = Numbered([3, 4, 2])
    stock = DefaultSampler(dataset, shuffle=False, seed=0)
    assert list(ShardSampler(dataset, shuffle=False, seed=0)) == list(stock)


def test_what_has_no_shards_is_refused():
    with pytest.raises(TypeError, match='a data set of shards'):
        ShardSampler([1, 2], seed=0)
    with pytest.raises(ValueError, match='window is 0'):
        ShardSampler(Numbered([1]), seed=0, window=0)
