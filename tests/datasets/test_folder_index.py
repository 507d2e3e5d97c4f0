"""The index of a large folder says what a search would find, and a search takes little memory."""

import os
import pickle
import random
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import DefaultScope

from beit_mm.datasets.finding import find_classes, find_photos, join_classes
from beit_mm.datasets.sources import folder_index, folder_search, names
from beit_mm.datasets.sources.folder_index import FolderIndex
from beit_mm.datasets.sources.names import ChosenNames, JoinedNames, NameSorter, StringsBuilder
from beit_mm.registry import DATASETS

# Characters about the separator, and some that are no ASCII or no UTF-8.
PARTS = ['a', 'b', 'b c', 'b.jpg', 'b-', 'B', 'ü', '日本', 'x\udcff', '0', '~']


def name_of(rng: random.Random) -> str:
    folders = [rng.choice(PARTS) for _ in range(rng.randrange(4))]
    leaf = f'{rng.choice(PARTS)}{rng.randrange(50)}'
    return '/'.join([*(f'{folder}.d' for folder in folders), leaf])


def make(root: Path, name: str, content: bytes = b'') -> None:
    path = os.path.join(root, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'wb') as file:
        file.write(content)


def tree(root: Path, rng: random.Random, count: int = 80) -> None:
    for _ in range(count):
        ending = rng.choice(['.jpg', '.png', '.xml', '.dat'])
        make(root, name_of(rng) + ending, rng.choice([b'', JPEG]))


JPEG = b'\xff\xd8\xff\xe0 looks like one'


def walked(root: Path) -> list[str]:
    """Independent: by endings and first bytes."""
    found = []
    for folder, below, files in os.walk(root):
        # Of bytes that are no text.
        below[:] = [name for name in below if '\udcff' not in name]
        for file in files:
            if '\udcff' in file:
                continue
            path = os.path.join(folder, file)
            with open(path, 'rb') as opened:
                image = file.endswith(('.jpg', '.png')) or opened.read(3) == JPEG[:3]
            if image:
                found.append(os.path.relpath(path, root))
    return sorted(found, key=os.fsencode)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Every folder has an index, and what was changed a moment ago counts as old."""
    monkeypatch.setattr(folder_index, 'SAVED_FROM', 1)
    monkeypatch.setattr(folder_search, 'RECENT', -(1 << 62))


def listed(monkeypatch) -> list[str]:
    """The folders that are listed from now on."""
    seen, scandir = [], os.scandir
    monkeypatch.setattr(os, 'scandir', lambda path: seen.append(str(path)) or scandir(path))
    return seen


@pytest.mark.parametrize('seed', range(6))
def test_names_are_those_of_a_walk_in_order_and_a_sequence_as_any(tmp_path, monkeypatch, seed):
    monkeypatch.setattr(names, 'SORTED_AT_ONCE', 5)
    tree(tmp_path, random.Random(seed))
    expected = walked(tmp_path)
    found = find_photos(tmp_path).names
    assert list(found) == expected == [found[k] for k in range(len(found))]
    assert found == expected
    assert found != expected[:-1]
    assert found[3:30:4] == expected[3:30:4]
    assert (found[-1], found[-len(found)]) == (expected[-1], expected[0])
    for wrong in (len(found), -len(found) - 1):
        with pytest.raises(IndexError):
            found[wrong]
    copied = pickle.loads(pickle.dumps(found))
    assert copied == found
    both = JoinedNames({'x/': found, 'none': [], 'y/': expected})
    assert ChosenNames(found, np.array([5, 0])) == [expected[5], expected[0]]
    assert list(both) == [f'x/{n}' for n in expected] + [f'y/{n}' for n in expected] == both[:]


def test_names_are_sorted_in_runs(monkeypatch):
    monkeypatch.setattr(names, 'SORTED_AT_ONCE', 7)
    sorter, given = NameSorter(), [name_of(random.Random(seed)) for seed in range(100)]
    for name in given:
        sorter.add(name)
    assert [names.decode(raw) for raw in sorter] == sorted(given, key=os.fsencode)
    builder = StringsBuilder()
    assert builder.build() == []
    for name in given:
        builder.add(names.encode(name))
    assert builder.build() == given


def change(root: Path, rng: random.Random) -> None:
    """Make, remove or rename something, as time goes on."""
    files = [path for path in root.rglob('*') if path.is_file()]
    folders = [path for path in root.rglob('*') if path.is_dir()]
    what = rng.randrange(5)
    if what == 0:
        make(root, f'{name_of(rng)}.jpg')
    elif what == 1:
        rng.choice(files).unlink()
    elif what == 2:
        chosen = rng.choice(files)
        chosen.rename(chosen.with_name(f'renamed{rng.random()}{chosen.suffix}'))
    elif what == 3:
        shutil.rmtree(rng.choice(folders), ignore_errors=True)
    else:
        chosen = rng.choice(folders)
        chosen.rename(chosen.with_name(f'moved{rng.random()}'))


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('most_opened', [1000, 6])
def test_an_index_says_what_a_search_finds_after_any_change(
    tmp_path, monkeypatch, seed, most_opened
):
    monkeypatch.setattr(folder_search, 'MOST_OPENED', most_opened)
    rng, root = random.Random(seed), tmp_path / 'photos'
    tree(root, rng)
    (root / 'link').symlink_to(tmp_path / 'elsewhere', target_is_directory=True)
    make(tmp_path / 'elsewhere', 'in/there.jpg')
    for _ in range(12):
        found = find_photos(root, tmp_path / 'indices')
        assert found == find_photos(root)
        assert 'link/in/there.jpg' in found.names
        assert [*(tmp_path / 'indices').iterdir()] == [FolderIndex(tmp_path / 'indices', root).path]
        change(root, rng)


def test_what_has_not_changed_is_not_listed_again(tmp_path, monkeypatch):
    root, indices = tmp_path / 'photos', tmp_path / 'indices'
    for name in ('a/1.jpg', 'a/deep/2.jpg', 'b/3.jpg', 'b/4.txt'):
        make(root, name)
    first = find_photos(root, indices)
    assert '4 of 4 folders listed, the next time those that will have changed' in str(first)
    seen = listed(monkeypatch)
    again = find_photos(str(root), str(indices))
    assert again == first
    assert not seen
    assert 'whose folders have not changed since' in str(again)
    # A file that is overwritten in its place makes no difference to anything.
    make(root, 'b/3.jpg', b'other')
    make(root, 'b/5.jpg')
    assert find_photos(root, indices).names == ['a/1.jpg', 'a/deep/2.jpg', 'b/3.jpg', 'b/5.jpg']
    assert seen == [f'{root}/b/']
    # Others are found with other packages.
    seen.clear()
    monkeypatch.setattr(folder_index, 'readable_formats', lambda: frozenset({'png'}))
    find_photos(root, indices)
    assert len(seen) == 4


def test_a_folder_that_was_changed_a_moment_ago_is_listed_again(tmp_path, monkeypatch):
    monkeypatch.setattr(folder_search, 'RECENT', 10**15)
    make(tmp_path / 'photos', 'a/1.jpg')
    os.utime(tmp_path / 'photos', (1, 1))
    find_photos(tmp_path / 'photos', tmp_path / 'indices')
    seen = listed(monkeypatch)
    find_photos(tmp_path / 'photos', tmp_path / 'indices')
    assert seen == [f'{tmp_path}/photos/a/']


def test_an_index_that_is_damaged_or_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    root, indices = tmp_path / 'photos', tmp_path / 'indices'
    for name in ('a/1.jpg', 'b/2.jpg'):
        make(root, name)
    found = find_photos(root, indices)
    [path] = indices.iterdir()
    whole = path.read_bytes()
    for content in (b'', b'no index', whole[: len(whole) // 2], whole.replace(b'1.jpg', b'9.jpg')):
        path.write_bytes(content)
        assert find_photos(root, indices) == found
        assert path.read_bytes() == whole
    (tmp_path / 'file').touch()
    refused = find_photos(root, tmp_path / 'file/indices')
    assert refused == found
    assert 'cannot be written: ' in str(refused)
    monkeypatch.setattr(folder_index, 'SAVED_FROM', 3)
    assert '.npz' not in str(find_photos(root, tmp_path / 'others'))
    assert not (tmp_path / 'others').exists()


def test_class_folders_have_one_index(tmp_path, monkeypatch):
    root, indices = tmp_path / 'photos', tmp_path / 'indices'
    for name in ('cat/1.jpg', 'cat/more/2.jpg', 'dog/3.jpg', 'loose.jpg'):
        make(root, name)
    (root / 'pet').symlink_to(root / 'cat', target_is_directory=True)
    fresh, first = find_classes(root), find_classes(root, indices)
    assert first == fresh
    every = ['cat/1.jpg', 'cat/more/2.jpg', 'dog/3.jpg', 'loose.jpg']
    assert find_photos(root, indices).names == every
    assert len(list(indices.iterdir())) == 2
    seen = listed(monkeypatch)
    again = find_classes(root, indices)
    assert again == fresh
    # To know the names of the classes.
    assert seen == [str(root)]
    seen.clear()
    make(root, 'dog/4.jpg')
    joined = join_classes(root, find_classes(root, indices))
    assert joined.names == [
        'cat/1.jpg', 'cat/more/2.jpg', 'dog/3.jpg', 'dog/4.jpg', 'pet/1.jpg', 'pet/more/2.jpg',
    ]  # fmt: skip
    assert seen[1] == f'{root}/dog/'


def build(kind: str, folder: Path, **settings):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return DATASETS.build(dict(type=kind, data_root=str(folder), **settings))


def test_lists_and_wrappers_are_those_of_custom_dataset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = random.Random(0)
    lines = [f'{name_of(rng)}.jpg'.replace('\udcff', 'y') for _ in range(60)]
    labelled = ''.join(f'{line} {k % 7}\n' for k, line in enumerate(lines))
    (tmp_path / 'labels.txt').write_text(labelled)
    (tmp_path / 'paths.txt').write_text('\r\n'.join(lines), newline='')
    for settings in (
        dict(ann_file='labels.txt'),
        dict(ann_file='paths.txt', with_label=False),
        dict(ann_file='labels.txt', data_prefix='in', indices=9),
        dict(ann_file='labels.txt', indices=-9),
        dict(ann_file='labels.txt', indices=[5, 3, 40]),
        dict(ann_file='labels.txt', lazy_init=True),
    ):
        ours = build('beit_mm.PhotoFolder', tmp_path, **settings)
        theirs = build('mmpretrain.CustomDataset', tmp_path, **settings)
        assert len(ours) == len(theirs)
        # Of the first, by -len, mmengine knows nothing.
        every = range(1 - len(ours), len(ours))
        assert [ours.get_data_info(k) for k in every] == [theirs.get_data_info(k) for k in every]
        for chosen in (2, -2, [1, 0, 2]):
            some, others = ours.get_subset(chosen), theirs.get_subset(chosen)
            assert [some.get_data_info(k) for k in range(len(some))] == [
                others.get_data_info(k) for k in range(len(others))
            ]
            some.get_subset_([1])
            assert some.get_data_info(0) == {**others.get_data_info(1), 'sample_idx': 0}
        if settings.get('with_label', True):
            assert ours.get_gt_labels().tolist() == theirs.get_gt_labels().tolist()
            assert ours.get_cat_ids(2) == theirs.get_cat_ids(2)
    (tmp_path / 'wrong.txt').write_text('a.jpg 1\nb.jpg\n')
    with pytest.raises(ValueError, match=r'wrong\.txt, line 2: '):
        build('beit_mm.PhotoFolder', tmp_path, ann_file='wrong.txt')


def test_a_list_takes_a_tenth_of_the_memory_of_mmengines(tmp_path):
    (tmp_path / 'l.txt').write_text(''.join(f'{n // 100}/IMG_{n:08}.jpg 3\n' for n in range(20000)))
    peaks = []
    for kind in ('beit_mm.PhotoFolder', 'mmpretrain.CustomDataset'):
        tracemalloc.start()
        dataset = build(kind, tmp_path, ann_file='l.txt')
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(dataset) == 20000
    assert peaks[0] < peaks[1] / 5
    assert peaks[0] / 20000 < 100
