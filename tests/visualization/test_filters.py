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


def test_there_are_no_more_filters_than_the_projection_has_and_any_number_is_drawn():
    filters, shares = principal_filters(torch.randn(2, 4, 4, 4), 28)
    assert filters.shape == (2, 4, 4, 4)
    figure = draw_filters(filters, shares)
    assert sum(len(axis.images) for axis in figure.axes) == 2
