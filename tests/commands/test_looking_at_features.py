"""Features as colours, neighbours, maps: from files to the arrays behind the pictures."""

import sys
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from beit_mm.commands import look_features as features_look
from beit_mm.commands import looked_images, looked_vectors
from beit_mm.commands.embedding import embed
from beit_mm.commands.look_features import look_features
from beit_mm.commands.look_map import look_map
from beit_mm.commands.look_neighbours import Shown, look_neighbours
from beit_mm.commands.looked_vectors import class_of
from beit_mm.component import ConfigError
from beit_mm.models import BEiT

ARCH = dict(embed_dims=16, num_layers=3, num_heads=2, feedforward_channels=16)


def save_network(path, bands=3):
    torch.manual_seed(0)
    model = BEiT(ARCH, img_size=16, patch_size=4, in_channels=bands)
    torch.save(model.state_dict(), path)
    return str(path)


@pytest.fixture(scope='module')
def looked(tmp_path_factory):
    """Weights, and 3 classes of 11 images, of which two are broken."""
    root = tmp_path_factory.mktemp('looked')
    rng = np.random.default_rng(0)
    for number, label in enumerate(('cat', 'dog', 'elk')):
        folder = root / 'photos' / label
        folder.mkdir(parents=True)
        for index in range(11):
            low = 60 * number
            pixels = rng.integers(low, low + 120, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f'{index:02}.png')
    for name in ('cat/03.png', 'elk/10.png'):
        (root / 'photos' / name).write_bytes(b'no image')
    return save_network(root / 'weights.pth'), root / 'photos'


def arrays_of(picture):
    assert Image.open(picture).size[0] > 100
    with np.load(picture.with_suffix('.npz')) as file:
        return dict(file)


def test_neighbours_are_those_of_the_vectors_that_embed_writes(looked, tmp_path, capsys):
    weights, photos = looked
    found = arrays_of(look_neighbours(weights, [photos], count=4, out=tmp_path / 'n.png'))
    assert capsys.readouterr().err.count('left out') == 2
    with np.load(embed(photos, tmp_path / 'v.npz', weights)) as file:
        vectors = dict(file)
    assert found['files'].tolist() == [str(photos / name) for name in vectors['files']]
    np.testing.assert_allclose(found['features'], vectors['features'], atol=1e-5)
    assert found['labels'].tolist() == [name.split('/')[0] for name in vectors['files']]
    rows = [found['files'].tolist().index(file) for file in found['query_files']]
    assert len(rows) == 8
    assert {*found['query_labels']} == {'cat', 'dog', 'elk'}
    known = NearestNeighbors(n_neighbors=4, metric='cosine').fit(vectors['features'])
    assert np.array_equal(found['nearest'], known.kneighbors()[1][rows])


def test_an_image_among_others_is_not_its_own_neighbour(looked, tmp_path, capsys):
    weights, photos = looked
    other = tmp_path / 'dog.png'
    other.write_bytes((photos / 'dog' / '05.png').read_bytes())
    out = tmp_path / 'n.png'
    images = [photos / 'dog' / '05.png', other]
    found = arrays_of(look_neighbours(weights, images, among=photos, count=99, out=out))
    first, second = found['files'][found['nearest']]
    assert str(images[0]) not in first
    assert second[0] == str(images[0])
    assert found['query_labels'].tolist() == ['dog', '']
    # As many as there are: 33 images, two of them broken, and one the query itself.
    assert found['nearest'].shape == (2, 30)
    assert '30 others are there to show, in place of 99' in capsys.readouterr().err


def test_colours_are_the_components_of_a_block_whatever_the_order(looked, tmp_path, monkeypatch):
    weights, photos = looked
    files = sorted(photos.glob('*/*.png'))
    found = arrays_of(look_features(weights, files, block=1, out=tmp_path / 'a.png'))
    model = BEiT(ARCH, img_size=16, patch_size=4, out_type='featmap', out_indices=1).eval()
    model.load_state_dict(torch.load(weights), strict=False)
    pixels = np.stack(
        [Image.open(file).resize((16, 16), 3, box=(2, 0, 22, 20)) for file in found['files']]
    ).transpose(0, 3, 1, 2)
    scaled = (pixels - np.array([123.675, 116.28, 103.53])[:, None, None]) / np.array(
        [58.395, 57.12, 57.375]
    )[:, None, None]
    with torch.no_grad():
        expected = model(torch.from_numpy(scaled).float())[0].numpy()
    np.testing.assert_allclose(found['features'], expected, atol=1e-4)

    monkeypatch.setattr(features_look, 'AT_ONCE', 3 * 16)
    again = arrays_of(look_features(weights, files[::-1], block=-2, out=tmp_path / 'b.png'))
    for name in ('mean', 'components', 'low', 'high'):
        np.testing.assert_allclose(again[name], found[name], atol=1e-4)
    assert 0 < len(found['files']) <= 24

    monkeypatch.setattr(features_look, 'SHOWN', 99)
    whole = arrays_of(look_features(weights, files, block=1, out=tmp_path / 'c.png'))
    rows = whole['features'].transpose(0, 2, 3, 1).reshape(-1, 16)
    assert len(rows) == 31 * 16
    alike = np.abs((PCA(3).fit(rows).components_ * found['components']).sum(axis=1))
    np.testing.assert_allclose(alike, 1, atol=1e-4)


@pytest.mark.parametrize('how', ['pca', 'tsne', pytest.param('umap', marks=pytest.mark.slow)])
def test_a_map(looked, tmp_path, capsys, how):
    if how == 'umap':
        pytest.importorskip('umap')
    weights, photos = looked
    found = arrays_of(look_map(weights, photos, how=how, out=tmp_path / 'm.png'))
    assert found['coordinates'].shape == (31, 2)
    assert np.isfinite(found['coordinates']).all()
    out = capsys.readouterr().out
    assert '31 images of 3 classes' in out
    assert f'{found["knn"]:.1f} % top-1' in out
    # Their brightness tells the classes.
    assert found['knn'] > 80
    if how == 'pca':
        check_principal_components(found)


def test_umap_is_given_principal_components_of_unit_vectors(looked, tmp_path, monkeypatch):
    """Against a stand-in: its own case above is run where it is installed."""

    class UMAP:
        def __init__(self, **settings):
            # One less than there are images.
            assert settings == dict(n_neighbors=9, random_state=0, n_jobs=1)

        def fit_transform(self, rows):
            return rows[:, :2].astype(np.float64)

    monkeypatch.setitem(sys.modules, 'umap', SimpleNamespace(UMAP=UMAP))
    weights, photos = looked
    found = arrays_of(look_map(weights, photos / 'cat', how='umap', out=tmp_path / 'm.png'))
    check_principal_components(found)


def check_principal_components(found):
    rows = found['features'] / np.linalg.norm(found['features'], axis=1, keepdims=True)
    expected = PCA(2).fit_transform(rows.astype(np.float64))
    signs = np.sign((expected * found['coordinates']).sum(axis=0))
    np.testing.assert_allclose(found['coordinates'], expected * signs, atol=1e-5)


def test_a_map_of_a_table_and_of_images_without_classes(looked, tmp_path):
    weights, photos = looked
    table = photos / 'labels.csv'
    table.write_text('path,label\ncat/00.png,a\ndog/00.png,b\nelk/00.png,a\ncat/01.png,b\n')
    found = arrays_of(look_map(weights, table, out=tmp_path / 'm.png'))
    table.unlink()
    assert found['labels'].tolist() == ['a', 'b', 'a', 'b']
    found = arrays_of(look_map(weights, photos / 'cat', out=tmp_path / 'm.png'))
    assert {*found['labels']} == {''}
    assert np.isnan(found['knn'])


def test_images_without_a_class_do_not_count_in_a_map(looked, tmp_path, capsys):
    weights, photos = looked
    mixed = tmp_path / 'mixed'
    mixed.mkdir()
    for label in ('cat', 'elk'):
        (mixed / label).symlink_to(photos / label)
    alone = look_map(weights, mixed, out=tmp_path / 'a.png')
    told = capsys.readouterr().out
    # In the middle of the order, and so between the two classes' rows.
    for index in (4, 5, 6):
        (mixed / f'd{index}.png').symlink_to(photos / 'dog' / f'{index:02}.png')
    both = look_map(weights, mixed, out=tmp_path / 'b.png')
    assert capsys.readouterr().out.splitlines()[:3] == told.splitlines()[:3]
    assert told.startswith('20 images of 2 classes, each among all others')
    alone, both = arrays_of(alone), arrays_of(both)
    assert both['knn'] == alone['knn']
    assert (len(both['labels']), (both['labels'] == '').sum()) == (23, 3)
    known = both['labels'] != ''
    assert [*both['labels'][known]] == [Path(file).parts[-2] for file in both['files'][known]]


@pytest.mark.parametrize('how', ['tsne', 'umap'])
def test_a_missing_package_is_named_before_anything_is_computed(tmp_path, monkeypatch, how):
    package = {'tsne': 'sklearn.manifold', 'umap': 'umap'}[how]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=r"pip install 'beit-mm\[look\]'"):
        look_map('no weights', tmp_path, how=how, out=tmp_path / 'm.png')


@pytest.mark.parametrize('look', [look_features, look_neighbours])
def test_images_of_any_bands(tmp_path, look):
    weights = save_network(tmp_path / 'weights.pth', bands=5)
    rng = np.random.default_rng(0)
    for index in range(6):
        pixels = rng.integers(0, 4000, (5, 18, 18), dtype=np.uint16)
        tifffile.imwrite(
            tmp_path / f'{index}.tif', pixels, photometric='minisblack', planarconfig='separate'
        )
    images = [tmp_path / f'{index}.tif' for index in range(6)]
    assert len(arrays_of(look(weights, images, out=tmp_path / 'a.png'))['files']) == 6


@pytest.mark.parametrize('look', [look_features, look_neighbours, look_map])
def test_no_more_is_held_of_a_larger_folder(looked, tmp_path, monkeypatch, look):
    """Batches are let go before the next, and only what is shown is read again."""
    weights, photos = looked
    seen, sizes, read = [], [], []

    def counted(self, x, *args, forward=BEiT.forward):
        assert sum(each() is not None for each in seen) <= 1
        seen.append(weakref.ref(x))
        sizes.append(len(x))
        return forward(self, x, *args)

    def noted(*args, read_pixels=looked_vectors.read_pixels):
        read.append(args)
        return read_pixels(*args)

    monkeypatch.setattr(BEiT, 'forward', counted)
    monkeypatch.setattr(features_look, 'FITTED', 20)
    monkeypatch.setattr(features_look, 'AT_ONCE', 4 * 16)
    monkeypatch.setattr(looked_vectors, 'read_pixels', noted)
    many = tmp_path / 'many'
    many.mkdir()
    for index in range(130):
        (many / f'{index:03}.png').symlink_to(photos / 'dog' / f'{index % 11:02}.png')
    images = many if look is look_map else [many]
    look(weights, images, out=tmp_path / 'a.png')
    if look is look_features:
        assert (max(sizes), sum(sizes), read) == (4, 20, [])
    else:
        assert (max(sizes), sum(sizes)) == (32, 130)
        assert len(read) <= (64 if look is look_neighbours else 11)


def test_what_takes_long_says_how_many_images_are_left(looked, tmp_path, monkeypatch, capsys):
    weights, photos = looked
    monkeypatch.setattr(looked_images, 'EVERY', -1.0)
    monkeypatch.setattr(features_look, 'AT_ONCE', 8 * 16)
    look_features(weights, [photos / 'dog'], out=tmp_path / 'a.png')
    said = capsys.readouterr().err
    assert said.count(' of 11 images, ') == 1
    assert said.splitlines()[-1] == '8 of 11 images, 0:00 left'


def test_frames_tell_of_classes_that_are_known(tmp_path):
    query, same, other, unknown = (
        Shown(tmp_path / 'a.png', label, cosine)
        for label, cosine in (('cat', None), ('cat', 0.9), ('dog', 0.8), ('', 0.7))
    )
    told = [one.has_class_of(query) for one in (query, same, other, unknown)]
    assert told == [None, True, False, None]
    assert same.has_class_of(unknown) is None


@pytest.mark.parametrize('block', [3, -4])
def test_a_block_that_is_not_there_is_told(looked, tmp_path, block):
    weights, photos = looked
    with pytest.raises(ConfigError, match='0 to 2'):
        look_features(weights, [photos], block=block, out=tmp_path / 'a.png')


@pytest.mark.parametrize(
    ('below', 'label'),
    [('a.jpg', None), ('train/a.jpg', None), ('cat/a.jpg', 'cat'), ('Val/cat/x/a.jpg', 'cat')],
)
def test_the_class_of_an_image_is_its_folder(tmp_path, below, label):
    assert class_of((tmp_path / below).relative_to(tmp_path)) == label


def test_one_image_has_no_neighbours_and_no_map(looked, tmp_path):
    weights, photos = looked
    with pytest.raises(ConfigError, match='two'):
        look_neighbours(weights, [photos / 'cat' / '00.png'], out=tmp_path / 'a.png')
    one = tmp_path / 'one'
    one.mkdir()
    (one / 'a.png').symlink_to(photos / 'cat' / '00.png')
    with pytest.raises(ConfigError, match='three'):
        look_map(weights, one, out=tmp_path / 'a.png')
