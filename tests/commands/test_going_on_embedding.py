"""Vectors that are gone on with are of the images and the reading that they began with."""

import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from beit_mm.commands import embedding
from beit_mm.commands.embedding import embed
from beit_mm.commands.main import main
from beit_mm.models import BEiT

IMAGES = 6


def write_photos(folder, seed=0):
    """Photos that are of one size in bytes, too."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    for index in range(IMAGES):
        pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f'{index}.bmp')
    return folder


@pytest.fixture
def weights(tmp_path, monkeypatch):
    monkeypatch.setenv('BEIT_MM_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(embedding, 'PART', 2)
    torch.manual_seed(0)
    arch = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16)
    model = BEiT(arch, img_size=16, patch_size=4)
    torch.save(model.state_dict(), tmp_path / 'weights.pth')
    return tmp_path / 'weights.pth'


@pytest.fixture
def parts_of(monkeypatch):
    """How many parts a start computes, and whether it is stopped then."""
    take = embedding.features_in_order

    def parts_of(folder, out, weights, most=IMAGES):
        done = []

        def counted(*arguments):
            if len(done) == most:
                raise KeyboardInterrupt
            done.append(arguments)
            return take(*arguments)

        monkeypatch.setattr(embedding, 'features_in_order', counted)
        try:
            embed(folder, out, weights)
        except KeyboardInterrupt:
            assert len(done) == most
        return len(done)

    return parts_of


def nothing(tmp_path):
    pass


def other_images(tmp_path):
    write_photos(tmp_path / 'photos', seed=1)


def other_time(tmp_path):
    os.utime(tmp_path / 'photos/0.bmp', (1, 1))


def other_folder(tmp_path):
    shutil.move(tmp_path / 'photos', tmp_path / 'first')
    write_photos(tmp_path / 'second', seed=1)
    for path in (tmp_path / 'first').iterdir():
        shutil.copystat(path, tmp_path / 'second' / path.name)
    (tmp_path / 'photos').symlink_to('second')


@pytest.mark.parametrize(
    ('change', 'parts'), [(nothing, 2), (other_images, 3), (other_time, 3), (other_folder, 3)]
)
def test_parts_are_kept_of_the_same_images_alone(weights, parts_of, tmp_path, change, parts):
    photos, out = write_photos(tmp_path / 'photos'), tmp_path / 'v.npz'
    assert parts_of(photos, out, weights, 1) == 1
    change(tmp_path)
    assert parts_of(photos, out, weights) == parts
    vectors = np.load(out)['features']
    np.testing.assert_allclose(
        vectors, np.load(embed(photos, tmp_path / 'w.npz', weights))['features'], atol=1e-6
    )


def test_parts_are_kept_of_the_same_reading_alone(weights, parts_of, tmp_path, monkeypatch):
    photos, out = write_photos(tmp_path / 'photos'), tmp_path / 'v.npz'
    parts_of(photos, out, weights, 1)
    as_photos = embedding.extractor

    def otherwise(*arguments):
        take = as_photos(*arguments)
        return take._replace(how=take.how._replace(mean=[0.0, 0.0, 0.0]))

    monkeypatch.setattr(embedding, 'extractor', otherwise)
    assert parts_of(photos, out, weights) == 3


@pytest.mark.parametrize(('seed', 'parts'), [(0, 2), (1, 3)])
def test_parts_are_kept_of_the_same_shards_alone(weights, parts_of, tmp_path, seed, parts):
    photos, shards, out = tmp_path / 'photos', tmp_path / 'shards', tmp_path / 'v.npz'
    main(['shard', str(write_photos(photos)), str(shards), '--no-labels'])
    parts_of(shards, out, weights, 1)
    shutil.rmtree(shards)
    main(['shard', str(write_photos(photos, seed)), str(shards), '--no-labels'])
    assert parts_of(shards, out, weights) == parts


def test_vectors_among_the_images_are_none_of_them(weights, parts_of, tmp_path, monkeypatch):
    photos = write_photos(tmp_path / 'photos')
    monkeypatch.chdir(photos)
    assert parts_of('.', 'v.npz', weights, 1) == 1
    assert parts_of('.', 'v.npz', weights) == 2
    # There now, and made anew.
    assert parts_of('.', 'v.npz', weights, 1) == 1
    assert parts_of('.', 'v.npz', weights) == 2
    assert np.load('v.npz')['files'].tolist() == [f'{index}.bmp' for index in range(IMAGES)]
    assert len(list(photos.iterdir())) == IMAGES + 1
