"""The layer that takes images, of weights for other bands than a network's."""

from typing import Any

from torch import Tensor

from ..checkpoints import BAND_NAMES, CheckpointError, pack_names, read_band_names
from ..layers.fit_bands import BandFit


def fit_input(
    network: Any, own: Tensor, weights: dict[str, Tensor], kernels: str, names: str
) -> BandFit | None:
    """Fit the layer that takes images to the bands of a network, in place.

    The names of the network's bands, if it has any, take the place of those of the weights.

    Args:
        network: With ``bands`` and ``fit_bands``, as :class:`beit_mm.models.BEiT` has them.
        own: The kernels of its layer, (D, bands, h, w).
        weights: Name -> tensor; changed.
        kernels: Which of these are the layer's.
        names: What stands before ``band_names`` in their names.

    Returns:
        What was done, None if nothing: the bands are the same, or there is no such layer.

    Raises:
        CheckpointError: If the bands are others and the network does not fit them, or the names
            of the weights' bands are none.
    """
    theirs, taken = read_band_names(weights, names), weights.get(kernels)
    weights.pop(f'{names}{BAND_NAMES}', None)
    if taken is None:
        return None
    if network.bands is not None:
        weights[f'{names}{BAND_NAMES}'] = pack_names(network.bands)
    # Of another width or patch: whoever loads them refuses them.
    if taken.ndim != 4 or taken[:, 0].shape != own[:, 0].shape:
        return None
    fit = BandFit(taken.shape[1], own.shape[1], theirs, network.bands)
    if not fit.is_needed:
        return None
    if not network.fit_bands:
        raise CheckpointError(
            f'fit_bands is False, and the bands are not those of the weights ({fit}): set '
            f'fit_bands=True of {type(network).__name__}, or its in_channels and bands to those of '
            'the weights'
        )
    weights[kernels] = fit.inputs(taken)
    return fit
