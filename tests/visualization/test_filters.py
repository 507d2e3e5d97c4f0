"""The principal components of a patch projection, beside scikit-learn's."""

import numpy as np
import torch
from sklearn.decomposition import PCA

from beit_mm.visualization import draw_filters, principal_filters


def test_filters_are_the_principal_components_of_another_library():
    weight = torch.randn(40, 3, 4, 4) * torch.linspace(0.1, 2, 48).view(3, 4, 4)
    filters, shares = principal_filters(weight, 5)
    pca = PCA(5, svd_solver='full').fit(weight.flatten(1).double().numpy())
    np.testing.assert_allclose(shares, pca.explained_variance_ratio_, rtol=1e-5)
    alike = (filters.reshape(5, -1) * pca.components_).sum(axis=1)
    np.testing.assert_allclose(np.abs(alike), 1, atol=1e-5)
    flat = filters.reshape(5, -1)
    assert (flat[range(5), np.abs(flat).argmax(axis=1)] > 0).all()


def test_there_are_no_more_filters_than_the_projection_has_and_any_number_is_drawn():
    filters, shares = principal_filters(torch.randn(2, 4, 4, 4), 28)
    assert filters.shape == (2, 4, 4, 4)
    figure = draw_filters(filters, shares)
    drawn = [np.asarray(axis.images[0].get_array()) for axis in figure.axes if axis.images]
    # The first three of four bands, each filter from its own smallest value to its largest.
    for one, picture in zip(filters, drawn, strict=True):
        expected = (one - one.min()) / np.ptp(one)
        np.testing.assert_allclose(picture, expected[:3].transpose(1, 2, 0), atol=1e-6)
