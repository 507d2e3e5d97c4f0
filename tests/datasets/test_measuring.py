"""Ranges, means and spreads of images, held against NumPy's of all their pixels."""

import numpy as np
import pytest
from photos import encoded
from PIL import Image

from beit_mm.datasets.reading import measuring
from beit_mm.datasets.reading.broken_image import BrokenImage
from beit_mm.datasets.reading.choosing import Reading
from beit_mm.datasets.reading.measuring import look_at, measure, spread

RNG = np.random.default_rng(0)


def scans(count=12, hot=False):
    """One band of 12 bits in 16, 64 x 64; with a hot and a dead pixel in each."""
    made = [RNG.normal(2500, 300, (64, 64)).clip(1000, 4095).astype(np.uint16)
            for _ in range(count)]  # fmt: skip
    for scan in made if hot else ():
        scan[5, 7], scan[9, 3] = 65535, 0
    return made


def as_files(arrays):
    return [encoded(Image.fromarray(array), 'PNG') for array in arrays]


def looked(arrays, bands=1, no_data=None):
    return [look_at(data, bands, no_data) for data in as_files(arrays)]


def test_twelve_bits_in_sixteen_are_found_and_fill_the_range():
    made = scans()
    ((low, high),) = measure(looked(made)).value_range['uint16']
    values = np.concatenate([scan.ravel() for scan in made])
    assert values.min() <= low <= np.quantile(values, 1e-3)
    assert np.quantile(values, 1 - 1e-3) <= high <= values.max()


def test_a_hot_or_dead_pixel_does_not_rule_the_range():
    each = looked(scans(hot=True))
    ((low, high),) = measure(each).value_range['uint16']
    assert 1000 <= low < high < 4096
    # It is told all the same.
    assert {(one.smallest.item(), one.largest.item()) for one in each} == {(0, 65535)}


def test_an_odd_image_does_not_rule_the_range():
    usual = scans(200)
    odd = [*usual[:198], np.full_like(usual[0], 60000), np.full_like(usual[0], 3)]
    found = measure(looked(odd)).value_range['uint16']
    # Of all others but one in 100 at each end.
    lows, highs = (np.sort([np.partition(s.ravel(), n)[n] for s in usual[:198]]) for n in (1, -2))
    assert found == [(lows[0], highs[-1])]
    dark = [*usual, *(np.full_like(usual[0], 1200) for _ in range(40))]
    assert measure(looked(dark)).value_range['uint16'][0][0] == 1200


def test_percentiles_are_numpys():
    made = scans()
    ((low, high),) = measure(looked(made), 'percentile').value_range['uint16']
    assert np.allclose((low, high), np.quantile(np.stack(made), (0.02, 0.98)), rtol=1e-6)


def test_means_and_spreads_are_those_behind_the_range():
    made = scans()
    found = measure(looked(made))
    behind = Reading(1, found.value_range).scale(np.stack(made)[..., None].reshape(-1, 64, 1))
    assert np.allclose(found.mean, behind.mean(), atol=0.01)
    assert np.allclose(found.std, behind.std(), atol=0.01)


def test_photos_of_8_bits_keep_their_range_beside_others():
    grey = [RNG.integers(60, 90, (64, 64)).astype(np.uint8) for _ in range(3)]
    found = measure(looked([*scans(), *grey]))
    assert found.value_range['uint8'] == [(0, 255)]
    assert set(found.value_range) == {'uint8', 'uint16'}


def test_bands_are_measured_one_by_one():
    image = np.zeros((64, 64, 4), np.uint8)
    image += np.array([10, 20, 30, 40], np.uint8)
    (each,) = looked([image], bands=4)
    assert each.smallest.tolist() == each.largest.tolist() == [10, 20, 30, 40]
    found = measure([each])
    assert np.allclose(found.mean, [10, 20, 30, 40])
    # No band is divided by nothing.
    assert found.std == [1, 1, 1, 1]
    # Transparency is none of all bands.
    (every,) = looked([image], bands=0)
    assert every.smallest.tolist() == [10, 20, 30]
    assert every.bands == ('red', 'green', 'blue', 'alpha')


def test_values_that_are_none_are_left_out_and_counted():
    scan = scans(1)[0].astype(np.float32)
    scan[:8] = np.nan
    scan[8] = -9999
    each = look_at(encoded(Image.fromarray(scan), 'TIFF'), 1, -9999)
    assert each.void == 9 * 64
    assert each.smallest[0] >= 0
    assert np.isfinite(measure([each]).mean).all()


def test_a_pixel_counts_that_has_a_value_in_each_band(tmp_path):
    image = np.arange(48, dtype=np.float32).reshape(4, 4, 3)
    image[0, 0, 1], image[2] = np.nan, np.nan
    np.save(tmp_path / 'a.npy', image)
    each = look_at(tmp_path / 'a.npy', 3)
    assert each.void == 5
    assert each.smallest.tolist() == [3, 4, 5]
    assert len(each.sample) == 11


def test_the_sample_is_of_the_whole_image(tmp_path):
    rows = np.repeat(np.arange(64, dtype=np.uint16), 64).reshape(64, 64)
    np.save(tmp_path / 'a.npy', rows)
    sample = look_at(tmp_path / 'a.npy', 1, sampled=100).sample.ravel()
    assert 50 < len(sample) <= 100
    assert abs(sample.mean() - rows.mean()) < 1
    assert sample.max() >= 63


def test_what_holds_no_values_measures_nothing():
    empty = np.full((8, 8), np.nan, np.float32)
    each = look_at(encoded(Image.fromarray(empty), 'TIFF'), 1, None)
    with pytest.raises(ValueError, match='no images to measure'):
        measure([each])
    with pytest.raises(ValueError, match='1, 3 bands'):
        measure([*looked(scans(1)), *looked([np.zeros((8, 8, 3), np.uint8)], bands=3)])


def test_images_are_alike_by_their_pixels_whatever_the_file():
    scan = scans(1)[0]
    image = Image.fromarray(scan)
    same = [look_at(encoded(image, kind), 1, None).digest for kind in ('PNG', 'TIFF')]
    assert same[0] == same[1]
    for place in ((0, 0), (-1, -1)):
        other = scan.copy()
        other[place] ^= 1
        assert look_at(encoded(Image.fromarray(other), 'PNG'), 1, None).digest != same[0]


@pytest.mark.parametrize('bands', [0, 1])
def test_damaged_pixels_are_told_by_the_name_of_the_file_or_none(tmp_path, bands):
    data = encoded(Image.fromarray(scans(1)[0]), 'TIFF', compression='tiff_deflate')
    # Of the pixels, which are decoded when they are read.
    damaged = data[:20] + bytes(100) + data[120:]
    (tmp_path / 'a.tif').write_bytes(damaged)
    for source, name in ((damaged, 'the image'), (tmp_path / 'a.tif', str(tmp_path / 'a.tif'))):
        with pytest.raises(BrokenImage) as raised:
            look_at(source, bands)
        assert raised.value.path == name


def test_of_large_images_windows_are_read(monkeypatch):
    monkeypatch.setattr(measuring, 'MOST_PIXELS', 100)
    monkeypatch.setattr(measuring, 'WINDOW', 8)
    scan = scans(1)[0]
    each = look_at(encoded(Image.fromarray(scan), 'PNG'), 1, None)
    assert each.digest is None
    assert set(each.sample.ravel()) <= set(scan.ravel())
    # A grid of 4 x 4 windows, corners among them.
    assert len(each.sample) == 16 * 64
    assert each.sample[0, 0] == scan[0, 0]
    assert each.sample[-1, 0] == scan[-1, -1]


def test_some_are_spread_over_all():
    assert spread(range(10), 20) == list(range(10))
    some = spread(range(1000), 7)
    assert (some[0], some[-1], len(set(some))) == (0, 999, 7)
