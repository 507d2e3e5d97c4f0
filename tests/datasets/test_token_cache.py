"""The files of a token cache: what is written is read, what is damaged or strange is named."""

import json
import os
import pickle

import numpy as np
import pytest

from beit_mm.datasets import CacheError, TokenCache, token_cache
from beit_mm.datasets.token_cache import describe_photos, differences

PHOTOS, VIEWS, GRID, VOCAB = 10, 3, (2, 5), 60_000


def make_manifest(**changes):
    manifest = dict(
        dataset=dict(photos=PHOTOS, names_and_sizes='ab'),
        views=dict(num_views=VIEWS, seed=4, scale=(0.08, 1.0)),
        tokenizer=dict(vocab_size=VOCAB, weights='cd'),
        grid=GRID,
        photos_per_shard=4,
        versions=dict(torch='2'),
    )
    return {**manifest, **changes}


@pytest.fixture
def tokens():
    return np.random.default_rng(0).integers(0, VOCAB, (PHOTOS, VIEWS, *GRID))


@pytest.fixture
def folder(tmp_path, tokens):
    """A whole cache: shards of 4, 4 and 2 photos."""
    cache = TokenCache.create(tmp_path / 'cache', make_manifest())
    for shard in range(cache.num_shards):
        cache.write(shard, tokens[cache.photos_of(shard)])
    return cache.folder


def test_what_is_written_is_read(folder, tokens):
    cache = TokenCache(folder)
    cache.check_complete()
    for photo in range(PHOTOS):
        for view in range(VIEWS):
            found = cache.read(photo, view)
            assert found.dtype == np.int64
            np.testing.assert_array_equal(found, tokens[photo, view])
    for photo, view in ((PHOTOS, 0), (0, VIEWS), (-1, 0), (0, -1)):
        with pytest.raises(IndexError):
            cache.read(photo, view)


def test_size_is_two_bytes_a_token(folder):
    """So ImageNet-1k takes 1.28e6 * 16 * 196 * 2 bytes, 8.0e9, for 16 views."""
    size = sum(path.stat().st_size for path in folder.glob('*.npy'))
    assert size == PHOTOS * VIEWS * 10 * 2 + 3 * 128


def test_cache_travels_to_loader_workers_without_its_tokens(folder, tokens):
    cache = TokenCache(folder)
    cache.read(0, 0)
    packed = pickle.dumps(cache)
    assert tokens[0, 0].astype(np.uint16).tobytes() not in packed
    np.testing.assert_array_equal(pickle.loads(packed).read(9, 2), tokens[9, 2])


def test_more_shards_than_a_process_may_open_are_read(tmp_path):
    resource = pytest.importorskip('resource')
    photos = token_cache.MOST_OPEN + 50
    dataset = dict(photos=photos, names_and_sizes='ab')
    cache = TokenCache.create(tmp_path, make_manifest(dataset=dataset, photos_per_shard=1))
    for photo in range(photos):
        cache.write(photo, np.full((1, VIEWS, *GRID), photo))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # What the test has open stays so; the cache may open fewer files than it has.
    opened = len(os.listdir('/dev/fd'))
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + photos - 10, hard))
    try:
        for photo in (*range(photos), 0, photos - 1):
            assert (cache.read(photo, 0) == photo).all()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_creating_again_goes_on_with_what_is_missing(folder, tokens):
    (folder / 'tokens_00001.npy').unlink()
    with pytest.raises(CacheError, match=r'tokens_00001\.npy.*cache_tokens'):
        TokenCache(folder).check_complete()
    cache = TokenCache.create(folder, make_manifest())
    assert cache.missing() == [1]
    cache.write(1, tokens[4:8])
    assert cache.missing() == []
    assert sorted(os.listdir(folder)) == [
        'manifest.json',
        *(f'tokens_0000{k}.npy' for k in range(3)),
    ]


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(views=dict(num_views=VIEWS, seed=5, scale=(0.08, 1.0))), ['views.seed: 5', '4 in']),
        (dict(views=dict(num_views=VIEWS, seed=4, scale=(0.2, 1.0))), ['views.scale', '0.2']),
        (dict(views=dict(num_views=VIEWS, seed=4)), ['views.scale', 'None']),
        (dict(tokenizer=dict(vocab_size=VOCAB, weights='x')), ["tokenizer.weights: 'x'", "'cd'"]),
        (dict(dataset=dict(photos=11, names_and_sizes='ab')), ['dataset.photos: 11', '10']),
    ],
)
def test_a_cache_of_something_else_says_what_differs(folder, changes, words):
    wanted = make_manifest(**changes)
    for use in (TokenCache(folder).check, lambda manifest: TokenCache.create(folder, manifest)):
        with pytest.raises(CacheError) as error:
            use(wanted)
        assert all(word in str(error.value) for word in [*words, str(folder)])
        # What does not differ is not told.
        assert 'num_views' not in str(error.value)


def test_versions_are_told_but_may_differ_once_the_tokens_are_there(folder):
    TokenCache(folder).check(make_manifest(versions=dict(torch='3')))
    with pytest.raises(CacheError, match=r'versions\.torch'):
        TokenCache.create(folder, make_manifest(versions=dict(torch='3')))


@pytest.mark.parametrize(
    ('changes', 'name'),
    [(dict(photos_per_shard=0), 'photos_per_shard'),
     (dict(tokenizer=dict(vocab_size=2**16 + 1)), 'vocab_size')],
)  # fmt: skip
def test_what_no_file_can_hold_is_refused_before_one_is_written(tmp_path, changes, name):
    with pytest.raises(ValueError, match=name):
        TokenCache.create(tmp_path / 'cache', make_manifest(**changes))
    assert not (tmp_path / 'cache').exists()


def test_differences_of_nested_descriptions():
    same = dict(a=1, b=dict(c=[1, 2]))
    assert differences(same, dict(same)) == []
    assert differences(same, dict(a=1)) == ["b: {'c': [1, 2]} here, None in the cache"]
    assert differences(dict(a=1), dict(a=1, z=3)) == ['z: None here, 3 in the cache']


@pytest.mark.parametrize(
    'damage',
    [
        lambda data: b'',
        lambda data: data[:100],
        lambda data: data[:-2],
        lambda data: b'PK\x03\x04' + data,
        lambda data: data.replace(b"'<u2'", b"'<f2'"),
        lambda data: data.replace(b"'<u2'", b"'|O' "),
        lambda data: data.replace(b'(4, 3', b'(3, 4'),
        lambda data: data.replace(b'{', b'['),
        lambda data: pickle.dumps(print),
    ],
)
def test_damaged_shard_is_named(folder, damage):
    path = folder / 'tokens_00000.npy'
    data = path.read_bytes()
    path.write_bytes(damage(data))
    assert path.read_bytes() != data
    for use in (TokenCache.check_complete, lambda c: c.read(0, 0), lambda c: c.missing()):
        with pytest.raises(CacheError, match=r'tokens_00000\.npy is damaged.*; delete it and run'):
            use(TokenCache(folder))


def test_tokens_beyond_the_vocabulary_are_damage(folder):
    path = folder / 'tokens_00002.npy'
    path.write_bytes(path.read_bytes()[:-2] + (VOCAB).to_bytes(2, 'little'))
    TokenCache(folder).read(9, 1)
    with pytest.raises(CacheError, match=r'tokens_00002\.npy.*60000'):
        TokenCache(folder).read(9, 2)
    cache = TokenCache(folder)
    for value in (-1, VOCAB, 70_000):
        with pytest.raises(CacheError, match=str(value)):
            cache.write(2, np.full((2, VIEWS, *GRID), value))
    with pytest.raises(ValueError, match='shard 2'):
        cache.write(2, np.zeros((4, VIEWS, *GRID), int))


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'\xff\xfe',
        b'[]',
        b'{"format": 99}',
        b'[' * 100_000,
        *(
            json.dumps({**make_manifest(format=1), **change}).encode()
            for change in (
                dict(grid=[14]),
                dict(grid=['../x', 2]),
                dict(photos_per_shard=0),
                dict(photos_per_shard=True),
                dict(dataset=dict(photos=-1)),
                dict(dataset=3),
                dict(views=None),
                dict(tokenizer=dict(vocab_size=1e9)),
            )
        ),
    ],
)
def test_damaged_manifest_is_named(folder, content):
    (folder / 'manifest.json').write_bytes(content)
    with pytest.raises(CacheError, match=r'manifest\.json'):
        TokenCache(folder)


def test_folder_without_a_manifest_is_no_cache(tmp_path):
    for path in (tmp_path, tmp_path / 'missing'):
        with pytest.raises(CacheError, match='no token cache'):
            TokenCache(path)


def test_photos_are_told_apart_by_names_sizes_and_order_but_not_by_their_place(tmp_path):
    def describe(root, names=('a/1.jpg', 'b/1.jpg'), sizes=(3, 4)):
        for name, size in zip(names, sizes, strict=True):
            (tmp_path / root / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / root / name).write_bytes(b'x' * size)
        return describe_photos([str(tmp_path / root / name) for name in names])

    here = describe('here')
    assert here['photos'] == 2
    assert describe('there') == here
    others = [
        describe('names', ('a/1.jpg', 'b/2.jpg')),
        describe('order', ('b/1.jpg', 'a/1.jpg')),
        describe('sizes', sizes=(3, 5)),
    ]
    assert len({json.dumps(found) for found in [here, *others]}) == 4


def test_an_image_of_a_stack_counts_by_its_file_and_a_folder_by_its_name(tmp_path):
    (tmp_path / 'scan.nii.gz').write_bytes(b'xyz')
    (tmp_path / 'b.zarr').mkdir()
    (tmp_path / 'c#1.jpg').write_bytes(b'xy')
    names = ['scan.nii.gz#0', 'scan.nii.gz#1', 'b.zarr', 'b.zarr#a/0', 'c#1.jpg']
    paths = [f'{tmp_path}/{name}' for name in names]
    assert describe_photos(paths) == describe_photos(paths, [3, 3, 0, 0, 2])


def test_photos_are_the_same_however_their_folder_is_written(tmp_path, monkeypatch):
    names = ['train/a/1.jpg', 'train/b/1.jpg', 'train/b/2.jpg']
    for name in names:
        (tmp_path / 'data' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'data' / name).write_bytes(b'x')
    monkeypatch.chdir(tmp_path)
    roots = [
        'data',
        './data',
        'data/',
        'data//.',
        '../' + tmp_path.name + '/data',
        f'{tmp_path}/data',
    ]
    found = [describe_photos([f'{root}/{name}' for name in names]) for root in roots]
    assert found == [found[0]] * len(roots)
    # Of a store elsewhere the sizes are not known.
    stores = ['s3://here', 's3://there/too']
    found = [describe_photos([f'{store}/{name}' for name in names]) for store in stores]
    assert found[0] == found[1]
    assert found[0] != describe_photos([f's3://here/{name}x' for name in names])
