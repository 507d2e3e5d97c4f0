"""Which three bands pictures show."""

import numpy as np
import pytest
import torch

from beit_mm.visualization import (
    as_photo,
    draw_neighbours,
    draw_segmentations,
    in_three_bands,
    panel_of,
    shown_places,
)

BANDS = ('nir', 'red', 'green', 'blue')


@pytest.mark.parametrize(
    ('number', 'shown', 'bands', 'places'),
    [
        (3, None, None, (0, 1, 2)),
        (1, None, None, (0, 0, 0)),
        (2, None, None, (0, 0, 0)),
        (13, None, None, (0, 1, 2)),
        (4, None, BANDS, (1, 2, 3)),
        (4, ('nir', 'red', 'green'), BANDS, (0, 1, 2)),
        (13, (4, 3, 2), None, (3, 2, 1)),
        (4, ('4', '3', '2'), None, (3, 2, 1)),
        (4, 'nir', BANDS, (0, 0, 0)),
        (4, [2], None, (1, 1, 1)),
        # Names of other images than these.
        (3, None, BANDS, (0, 1, 2)),
        # Names win over numbers.
        (2, ['2'], ('2', '1'), (0, 0, 0)),
    ],
)
def test_bands_are_chosen_by_name_then_number(number, shown, bands, places):
    assert shown_places(number, shown, bands) == places
    images = torch.rand(2, number, 3, 5)
    assert in_three_bands(images, shown, bands).equal(images[:, list(places)])
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, number), dtype=np.uint8)
    np.testing.assert_array_equal(as_photo(pixels, shown, bands), pixels[..., places])


@pytest.mark.parametrize('shown', [('red', 'green', 'swir'), (0, 1, 2), (3, 4, 5), (1, 2), ()])
def test_bands_that_are_not_there_are_refused(shown):
    with pytest.raises(ValueError, match='shown'):
        shown_places(4, shown, BANDS)


def test_values_outside_are_clipped_and_floats_rounded():
    images = torch.tensor([-1.0, 0.25, 2.0]).view(1, 3, 1, 1)
    assert in_three_bands(images).flatten().tolist() == [0, 0.25, 1]
    pixels = np.array([[[-3.0, 100.6, 300.0, 7.0]]], dtype=np.float32)
    photo = as_photo(pixels)
    assert photo.dtype == np.uint8
    assert photo.tolist() == [[[0, 101, 255]]]


def test_panels_of_four_bands_are_those_of_the_three_that_are_shown(tmp_path):
    images = torch.rand(2, 4, 6, 6)
    expected = panel_of({'original': images[:, 1:]})
    assert np.array_equal(panel_of({'original': images}, bands=BANDS), expected)
    assert np.array_equal(panel_of({'original': images}, shown=(2, 3, 4)), expected)
    assert not np.array_equal(panel_of({'original': images}), expected)

    pixels = (images.permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8)
    labels = np.zeros((6, 6), np.uint8)
    for number, (photos, bands) in enumerate(((pixels, BANDS), (pixels[..., 1:], None))):
        path = tmp_path / f'segmentations_{number}.png'
        draw_segmentations(
            list(photos), [labels] * 2, [labels] * 2, ['a'], [[1, 2, 3]], path, bands=bands
        )
        draw_neighbours([list(photos)], tmp_path / f'neighbours_{number}.png', bands=bands)
    for name in ('segmentations', 'neighbours'):
        first, second = (tmp_path / f'{name}_{number}.png' for number in range(2))
        assert first.read_bytes() == second.read_bytes()
