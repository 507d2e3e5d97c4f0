"""Colours of features: their components beside scikit-learn's, however the images come."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from beit_mm.visualization import FeatureColours, PrincipalComponents, draw_feature_colours


def maps(images=12, width=10, grid=(3, 5)):
    """Features (B, C, h, w) of unequal spreads, far from 0, where a bad mean shows."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.linspace(3, 0.1, width).view(-1, 1, 1)
    return torch.randn(images, width, *grid, generator=generator) * scale + 1000


def rows_of(features):
    return features.flatten(2).transpose(1, 2).flatten(0, 1)


@pytest.mark.parametrize('parts', [(180,), (1, 0, 2, 177), (60, 60, 60)])
def test_components_of_parts_are_those_of_another_library_for_all_at_once(parts):
    rows = rows_of(maps())
    fit = PrincipalComponents()
    for part in rows.split(parts):
        fit.add(part)
    components, shares = fit.first(4)
    pca = PCA(4, svd_solver='full').fit(rows.double().numpy())
    np.testing.assert_allclose(fit.mean, pca.mean_, rtol=1e-12)
    np.testing.assert_allclose(shares, pca.explained_variance_ratio_, rtol=1e-8)
    signs = np.sign((components * pca.components_).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(components, signs * pca.components_, atol=1e-8)
    assert (components[range(4), np.abs(components).argmax(axis=1)] > 0).all()


def test_all_the_same_has_no_variance_to_share():
    fit = PrincipalComponents()
    fit.add(torch.ones(5, 4))
    components, shares = fit.first(3)
    assert np.isfinite(components).all()
    assert (shares == 0).all()


@pytest.mark.parametrize('batch', [1, 5, 12])
def test_the_colours_do_not_depend_on_order_and_batches(batch):
    features = maps()
    fits = FeatureColours(7), FeatureColours(7)
    fits[0].add(features)
    for part in features.flip(0).split(batch):
        fits[1].add(part)
    expected, given = (fit.basis() for fit in fits)
    for one, other in zip(expected, given, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_colours_are_places_along_the_components_and_a_far_patch_does_not_rule_them():
    features = maps(images=20)
    fit = FeatureColours(15)
    fit.add(features)
    basis = fit.basis()
    along = basis.coordinates(features)
    expected = PCA(3).fit(rows_of(features).double().numpy())
    rows = expected.transform(rows_of(features).double().numpy())
    signs = np.sign((basis.components * expected.components_).sum(axis=1))
    np.testing.assert_allclose(along.reshape(-1, 3), rows * signs, atol=2e-3)
    colours = basis.colours(along)
    assert (colours.min(), colours.max()) == (0, 1)
    assert 0.03 < ((colours == 0) | (colours == 1)).mean() < 0.05

    # Along the first component, so that the others stay what they are.
    far = FeatureColours(15)
    features[0, :, 0, 0] += torch.from_numpy(basis.components[0]).float() * 500
    far.add(features)
    with_it = far.basis()
    spread = with_it.colours(with_it.coordinates(features[1:]))[..., 0]
    assert spread.std() > 0.2


@pytest.mark.parametrize(('count', 'shape'), [(1, (1, 2)), (2, (1, 4)), (3, (1, 6)), (9, (3, 8))])
def test_each_photo_is_beside_its_colours(count, shape):
    colours = np.random.default_rng(0).random((count, 4, 4, 3)).astype(np.float32)
    photos = [np.full((8, 8, 3), index, np.uint8) for index in range(count)]
    figure = draw_feature_colours(photos, colours, np.array([0.5, 0.2, 0.1]), 'features')
    drawn = np.asarray(figure.axes[0].images[0].get_array())
    side = 320 if count < 3 else 160
    assert drawn.shape == (shape[0] * (side + 10) - 10, shape[1] * (side + 10) - 10, 3)
    for index in range(shape[0] * shape[1] // 2):
        row, column = divmod(index, shape[1] // 2)
        y, x = row * (side + 10), 2 * column * (side + 10)
        photo, beside = (drawn[y : y + side, x + d : x + d + side] for d in (0, side + 10))
        if index >= count:
            assert (photo == 255).all()
            assert (beside == 255).all()
            continue
        assert (photo == index).all()
        # The middle of each patch.
        of_patches = beside[side // 8 :: side // 4, side // 8 :: side // 4]
        np.testing.assert_allclose(of_patches / 255, colours[index], atol=0.003)
