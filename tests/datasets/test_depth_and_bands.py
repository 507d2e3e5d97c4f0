"""Bands and depth of images: what is read equals what was put in, scaled once."""

import random

import cv2
import numpy as np
import pytest
import tifffile
import torch
from mmpretrain.datasets.transforms import PackInputs
from photos import encoded, pixels
from PIL import Image

from beit_mm.datasets import (
    BrokenImage,
    LoadPhoto,
    LoadTwoViews,
    TwoViewRandomResizedCrop,
    decoding,
)
from beit_mm.datasets.reading import choosing
from beit_mm.datasets.reading.choosing import Chosen, Reading
from beit_mm.datasets.reading.image_file import Box, Whole
from beit_mm.datasets.reading.noted import noted_changes
from beit_mm.datasets.views.colors import change_colors

RNG = np.random.default_rng(0)
# 12 bits in 16, four bands; in names as a satellite's.
BANDS = ('blue', 'green', 'red', 'nir')
DEEP = RNG.integers(0, 4096, (40, 56, 4)).astype(np.uint16)


def read(pixels, bands=None, value_range=None, names=None, no_data=None, **settings):
    image = Chosen(Whole(pixels, names, no_data), Reading(bands, value_range, **settings))
    return image.read(), image.changes


@pytest.mark.parametrize('kind', ['uint8', 'uint16', 'int16', 'uint32', 'float32', 'float64'])
def test_a_range_is_brought_into_0_to_255_at_full_depth(kind):
    values = np.linspace(10, 110, 6).reshape(1, 6, 1).astype(kind)
    found, _ = read(values, 1, (20, 100))
    assert found.dtype == np.float32
    expected = np.clip((values.astype(np.float64) - 20) / 80 * 255, 0, 255)
    assert np.allclose(found, expected, atol=1e-4)


def test_a_range_of_each_band():
    ranges = [(0, 4095), (100, 200), (0, 1), (1000, 3000)]
    found, _ = read(DEEP, 4, ranges)
    for band, (low, high) in enumerate(ranges):
        expected = np.clip((DEEP[..., band].astype(float) - low) / (high - low), 0, 1) * 255
        assert np.allclose(found[..., band], expected, atol=1e-3)


def test_ranges_by_type_and_by_the_type_itself():
    by_type = dict(uint16=(0, 4095))
    assert np.allclose(read(DEEP, 4, by_type)[0], DEEP / 4095 * 255, atol=1e-3)
    for value_range in (by_type, 'dtype'):
        assert np.array_equal(read(pixels(), 3, value_range)[0], pixels().astype(np.float32))
    assert np.allclose(read(DEEP, 4, 'dtype')[0], DEEP / 65535 * 255, atol=1e-3)
    signed = np.array([[-32768, 0, 32767]], np.int16)[..., None]
    with pytest.raises(BrokenImage, match='pixels are int16, and value_range has ranges of uint16'):
        read(signed, 1, by_type)
    assert np.allclose(read(signed, 1, 'dtype')[0].ravel(), [0, 127.502, 255], atol=1e-3)
    assert np.allclose(read(np.array([[0.25, 1.5]]), 1, 'dtype')[0].ravel(), [63.75, 255])


def test_12_bits_in_16_keep_what_8_bits_would_lose():
    found, changes = read(DEEP, 4, (0, 4095))
    assert len(np.unique(found)) == len(np.unique(DEEP)) > 3000
    assert changes == []
    found, changes = read(DEEP, 4)
    assert np.array_equal(found, (DEEP >> 8).astype(np.uint8))
    assert changes == ['reduced to 8 bits']


def test_bands_by_names_numbers_and_count():
    for bands in (['red', 'green', 'blue'], ['3', '2', '1']):
        found, changes = read(DEEP, bands, (0, 4095), BANDS)
        assert np.allclose(found, DEEP[..., 2::-1] / 4095 * 255, atol=1e-3)
        assert changes == []
    assert np.array_equal(read(DEEP, ['nir'], (0, 1000), BANDS)[0],
                          read(DEEP[..., 3:], 1, (0, 1000))[0])  # fmt: skip
    # Without names the first three stand for colours, by names those of the name.
    assert np.array_equal(read(DEEP)[0], read(DEEP[..., :3])[0])
    assert np.array_equal(read(DEEP, names=BANDS)[0], read(DEEP[..., 2::-1])[0])
    # Whoever counts, or says nothing, may not know of the others.
    for bands, changes in ((3, ['bands left out']), (None, ['bands left out']), (4, [])):
        assert read(DEEP, bands, (0, 4095))[1] == changes


@pytest.mark.parametrize(
    ('bands', 'said'),
    [
        (5, 'it has 4 bands, and 5 are wanted'),
        (['red', 'swir'], "it has the bands blue, green, red, nir, and no 'swir'"),
        (['9'], "and no '9'"),
        (['0'], "and no '0'"),
    ],
)
def test_bands_that_are_not_there(bands, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        read(DEEP, bands, names=BANDS)


def test_grey_among_colours():
    grey = pixels()[..., :1]
    assert np.array_equal(read(grey)[0], np.repeat(grey, 3, axis=2))
    found, changes = read(grey, 4)
    assert np.array_equal(found, np.repeat(grey, 4, axis=2))
    assert changes == ['one band repeated']
    # Colours by name are in grey too, and not in bands of numbers.
    assert np.array_equal(read(grey, ['red', 'green', 'blue'])[0], np.repeat(grey, 3, axis=2))
    with pytest.raises(ValueError, match='bands 1, 2, 3, 4, and no red, green and blue'):
        read(DEEP, ['red', 'green', 'blue'])
    # Of two, transparency is the second.
    see_through = np.concatenate([grey, pixels(1)[..., :1]], axis=2)
    found, changes = read(see_through, 2, names=('grey', 'alpha'))
    assert np.array_equal(found, see_through)
    assert changes == []


def test_pixels_without_a_value_become_0_and_are_said():
    values = np.array([[np.nan, np.inf, -9999, 0.5]], np.float32)[..., None]
    found, changes = read(values, 1, (0, 1), no_data=-9999)
    assert np.allclose(found.ravel(), [0, 0, 0, 127.5])
    assert changes == ['pixels without a value set to 0']
    # Of a file that names none the config's counts; it may lie inside of the range.
    found, _ = read(np.array([[7, 8]], np.uint16)[..., None], 1, (0, 10), no_data=None)
    assert found.ravel()[0] > 0
    image = Chosen(Whole(np.array([[7, 8]], np.uint16)), Reading(1, (0, 10), no_data=7))
    assert np.allclose(image.read().ravel(), [0, 204])


def test_transparency_is_left_out_or_laid_on_a_colour():
    rgba = np.concatenate([pixels(), pixels(1)[..., :1]], axis=2)
    image = Image.fromarray(rgba)
    white = Image.new('RGBA', image.size, (255, 255, 255, 255))
    expected = np.asarray(Image.alpha_composite(white, image).convert('RGB'))
    data = encoded(image, 'PNG')
    for background in (255, [255, 255, 255]):
        with Reading(background=background).open(data) as opened:
            assert np.abs(opened.read().astype(int) - expected).max() <= 1
            assert opened.changes == ['transparency laid on a colour']
    with Reading().open(data) as opened:
        assert np.array_equal(opened.read(), pixels())
        assert opened.changes == ['transparency left out']
    rgba[..., 3] = 255
    with Reading().open(encoded(Image.fromarray(rgba), 'PNG')) as opened:
        opened.read()
        assert opened.changes == []
    # By its name, or as the fourth of four, transparency is a band.
    for bands in (4, ['red', 'green', 'blue', 'alpha']):
        with Reading(bands).open(data) as opened:
            assert opened.read()[..., 3].std() > 0


@pytest.mark.parametrize(
    'settings',
    [
        dict(bands=0),
        dict(bands='red'),
        dict(bands=[]),
        dict(bands=['red', 'red']),
        dict(value_range=(1, 1)),
        dict(value_range=(5, 2)),
        dict(value_range='minmax'),
        dict(value_range=[(0, 1), (2, 1)]),
        dict(value_range=3),
        dict(bands=4, background=(0, 0, 0)),
    ],
)
def test_settings_that_are_none_are_refused(settings):
    name = list(settings)[-1]
    with pytest.raises(ValueError, match=name):
        Reading(**settings)


def test_what_cannot_be_scaled_says_what_to_set(tmp_path):
    floating = np.zeros((4, 4), np.float32)
    with pytest.raises(BrokenImage, match='set value_range'):
        read(floating)
    with pytest.raises(BrokenImage, match='beit-mm check'):
        read(floating, 1, 'measured')
    with pytest.raises(BrokenImage, match='2 pairs, and 1 bands'):
        read(floating, 1, [(0, 1), (0, 1)])


def png(array):
    return encoded(Image.fromarray(array), 'PNG')


FOUR = (DEEP >> 4).astype(np.uint8)
JITTER = dict(brightness=0.4, contrast=0.4, saturation=0.4)


def test_two_views_of_four_bands():
    """Each band of both views is what three-band images make of it."""
    settings = dict(size=16, second_size=8, brightness=0, contrast=0, saturation=0)
    data = png(FOUR)
    for value_range, dtype in ((None, torch.uint8), ((0, 255), torch.float32)):
        load = LoadTwoViews(bands=4, value_range=value_range, num_views=1, **settings)
        views = load(dict(img_path='a', img_bytes=data, sample_idx=3))['img']
        assert [tuple(view.shape) for view in views] == [(4, 16, 16), (4, 8, 8)]
        assert {view.dtype for view in views} == {dtype}
        for band in range(4):
            alone = png(np.repeat(FOUR[..., band, None], 3, axis=2))
            plain = LoadTwoViews(num_views=1, **settings)
            expected = plain(dict(img_path='a', img_bytes=alone, sample_idx=3))['img']
            for view, wanted in zip(views, expected, strict=True):
                assert (view[band].float() - wanted[0].float()).abs().max() <= 1


def test_colours_of_four_bands_are_brightness_and_contrast():
    jitter = (('brightness', 1.2), ('saturation', 0.3), ('contrast', 0.7))
    for image in (FOUR, FOUR.astype(np.float32)):
        found = change_colors(image, jitter)
        bright = np.clip(image * 1.2, 0, 255)
        expected = bright.mean() + 0.7 * (bright - bright.mean())
        assert found.dtype == image.dtype
        assert np.abs(found - expected).max() < (1.2 if image.dtype == np.uint8 else 1e-2)


def test_colours_of_floating_photos_are_those_of_bytes():
    jitter = (('contrast', 1.3), ('saturation', 0.6), ('brightness', 0.8))
    found = change_colors(pixels().astype(np.float32), jitter)
    assert np.abs(found - change_colors(pixels(), jitter)).max() < 3


@pytest.mark.parametrize('interpolation', ['bilinear', 'bicubic', 'lanczos'])
def test_two_views_of_floating_pixels_stay_in_range(interpolation):
    edges = np.where(RNG.random((40, 56)) > 0.5, 1e4, 0).astype(np.float32)
    load = LoadTwoViews(
        16, 8, bands=1, value_range=(0, 1e4), interpolation=interpolation,
        second_interpolation=interpolation, **JITTER,
    )  # fmt: skip
    for view in load(dict(img_path='a', img_bytes=encoded(Image.fromarray(edges), 'TIFF')))['img']:
        assert 0 <= view.min() < view.max() <= 255


def test_photos_loaded_whole_are_tensors_for_torchvision_or_arrays(tmp_path):
    data = png(FOUR)
    tensor = LoadPhoto(bands=4)(dict(img_bytes=data))
    assert tensor['img_shape'] == tensor['ori_shape'] == (40, 56)
    assert torch.equal(tensor['img'], torch.from_numpy(FOUR).permute(2, 0, 1))
    array = LoadPhoto(as_array=True, bands=4, value_range=(0, 100))(dict(img_bytes=data))['img']
    assert array.dtype == np.float32
    assert np.allclose(array, np.clip(FOUR / 100 * 255, 0, 255), atol=1e-3)
    packed = PackInputs()(dict(tensor, img_path='a'))
    assert torch.equal(packed['inputs'], tensor['img'])
    crop = TwoViewRandomResizedCrop(16, 8, scale=(1, 1), ratio=(1, 1))
    views = crop(dict(tensor))['img']
    assert [tuple(view.shape) for view in views] == [(4, 16, 16), (4, 8, 8)]


def test_an_image_that_is_there_has_its_own_depth():
    found = LoadPhoto(bands=4, value_range=(0, 4095), as_array=True)(dict(img=DEEP))['img']
    assert np.allclose(found, DEEP / 4095 * 255, atol=1e-3)
    grey = Image.fromarray(pixels()[..., 0])
    assert LoadPhoto(bands=1)(dict(img=grey))['img'].shape == (1, 40, 56)


def test_changes_of_a_sample_are_noted_for_who_collects_them():
    data = encoded(Image.fromarray(FOUR), 'PNG')
    for load in (LoadPhoto(), LoadTwoViews(16, 8)):
        with noted_changes() as changes:
            load(dict(img_path='a', img_bytes=data))
        assert changes == ['transparency left out']
        load(dict(img_path='a', img_bytes=data))
    assert changes == ['transparency left out']


def test_a_window_is_read_alone():
    image = Whole(DEEP)
    asked = []
    whole = image.read
    image.read = lambda box=None, factor=1: asked.append(box) or whole(box, factor)
    found = Chosen(image, Reading(4, (0, 4095))).read(Box(2, 3, 5, 7))
    assert asked == [Box(2, 3, 5, 7)]
    assert np.allclose(found, DEEP[2:7, 3:10] / 4095 * 255, atol=1e-3)


class Counted(Whole):
    """Remembers what was asked of it."""

    def __init__(self, size, bands=4):
        rows, columns = np.mgrid[: size[0], : size[1]]
        planes = [(rows * 3 + columns * 5 + 7 * band) % 251 for band in range(bands)]
        super().__init__(np.stack(planes, axis=-1).astype(np.uint8))
        self.asked = []

    def read(self, box=None, factor=1):
        self.asked.append((box, factor))
        return super().read(box, factor)


@pytest.mark.parametrize('factor', [2, 4, 8, 16])
@pytest.mark.parametrize('bands', [1, 3, 5])
def test_large_parts_are_reduced_tile_by_tile_to_the_mean(monkeypatch, factor, bands):
    monkeypatch.setattr(choosing, 'MOST_AT_ONCE', 1000)
    monkeypatch.setattr(choosing, 'TILE', 32)
    image = Counted((112, 96), bands)
    box = Box(0, 16, 112, 80)
    found = Chosen(image, Reading(bands, (0, 255))).read(box, factor)
    cells = image.pixels[:, 16:].reshape(112 // factor, factor, 80 // factor, factor, bands)
    assert np.abs(found - cells.astype(float).mean(axis=(1, 3))).max() < 0.01
    assert max(part.height * part.width for part, _ in image.asked) <= 64 * 64
    assert {reduced for _, reduced in image.asked} == {min(factor, 8)}


def test_large_parts_of_any_size_keep_their_shape(monkeypatch):
    monkeypatch.setattr(choosing, 'MOST_AT_ONCE', 100)
    monkeypatch.setattr(choosing, 'TILE', 32)
    for height, width in ((33, 65), (65, 33), (100, 97), (64, 129)):
        found = Chosen(Counted((height, width)), Reading(4)).read(factor=4)
        assert found.shape == (round(height / 4), round(width / 4), 4)
        # A coarse look at the same: nothing is shifted or left empty.
        peer = cv2.resize(Counted((height, width)).pixels, found.shape[1::-1],
                          interpolation=cv2.INTER_AREA)  # fmt: skip
        assert np.abs(found.astype(int) - peer).mean() < 12


@pytest.mark.parametrize('value_range', [None, (0, 255)])
@pytest.mark.parametrize('bands', [5, 600])
def test_large_parts_of_any_number_of_bands_are_reduced_as_each_band_alone(
    monkeypatch, bands, value_range
):
    monkeypatch.setattr(choosing, 'MOST_AT_ONCE', 100)
    monkeypatch.setattr(choosing, 'TILE', 32)
    image = Counted((77, 107), bands)
    found = Chosen(image, Reading(bands, value_range)).read(factor=4)
    for band in (0, 3, 4, bands - 1):
        alone = Whole(image.pixels[..., [band]])
        assert np.array_equal(
            found[..., [band]], Chosen(alone, Reading(1, value_range)).read(factor=4)
        )


def test_views_of_any_number_of_bands_are_flipped(tmp_path):
    made = RNG.integers(0, 256, (16, 16, 600), dtype=np.uint8)
    settings = dict(photometric='minisblack', planarconfig='contig')
    tifffile.imwrite(tmp_path / 'a.tif', made, **settings)
    found = []
    for flip_prob in (0, 1):
        load = LoadTwoViews(16, None, brightness=0, contrast=0, saturation=0, bands=600,
                            flip_prob=flip_prob)  # fmt: skip
        found.append(load.load(str(tmp_path / 'a.tif'), random.Random(0))[0][0])
    assert torch.equal(found[0].flip(2), found[1])


def test_a_crop_of_a_large_image_is_drawn_from_a_window(monkeypatch):
    load = LoadTwoViews(16, 8, window=40, scale=(0.5, 1.0))
    boxes = [load.draw(random.Random(seed), (300, 500)).box for seed in range(200)]
    assert max(box.height for box in boxes) <= 40
    assert max(box.width for box in boxes) <= 40
    # Everywhere in the image.
    assert min(box.top for box in boxes) < 30 < 230 < max(box.top for box in boxes)
    assert min(box.left for box in boxes) < 50 < 420 < max(box.left for box in boxes)
    # Where the window is as large as the image, nothing else is drawn than before.
    plain = LoadTwoViews(16, 8, scale=(0.5, 1.0), window=10**6)
    for seed in range(5):
        assert plain.draw(random.Random(seed), (30, 40)) == load.draw(random.Random(seed), (30, 40))


def test_a_whole_image_that_is_too_large_is_reduced_and_that_is_said(monkeypatch):
    monkeypatch.setattr(decoding, 'MOST_PIXELS', 600)
    monkeypatch.setattr(choosing, 'MOST_AT_ONCE', 100)
    with noted_changes() as changes:
        loaded = LoadPhoto(as_array=True)(dict(img_bytes=png(pixels())))
    assert loaded['img'].shape == (20, 28, 3)
    assert changes == ['large images reduced as they are read whole']


@pytest.mark.parametrize('as_array', [False, True])
@pytest.mark.parametrize(
    'settings',
    [{}, dict(value_range='dtype'), dict(background=0), dict(bands=3), dict(bands=['blue', 'red'])],
)
def test_an_image_that_openmmlab_has_read_is_the_one_in_its_file(tmp_path, settings, as_array):
    path = tmp_path / 'a.png'
    Image.fromarray(pixels()).save(path)
    load = LoadPhoto(as_array, **settings)
    expected = load(dict(img_path=str(path)))['img']
    for given in (cv2.imread(str(path)), Image.open(path)):
        assert np.array_equal(np.asarray(load(dict(img=given))['img']), np.asarray(expected))
