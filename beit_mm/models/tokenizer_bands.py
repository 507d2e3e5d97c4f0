"""Weights of an image tokenizer for images of other bands than it was trained on."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..checkpoints import BAND_NAMES, CheckpointError, pack_names, read_band_names
from ..layers.fit_bands import BandFit

# What takes images, what makes them, and where the names of their bands are.
INPUT = 'encoder.input.'
OUTPUTS = ('decoder.output.conv.weight', 'decoder.output.conv.bias')


def fit_tokenizer(tokenizer: Any, weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """Fit the first layer of a tokenizer, and what makes pictures, to the bands of another.

    Args:
        tokenizer: A :class:`beit_mm.models.DiscreteVAE`; not changed.
        weights: Of one, ``encoder.*`` and ``decoder.*`` as far as they are there.

    Returns:
        The weights, those of the first and last layer as
        :class:`beit_mm.layers.fit_bands.BandFit` says, with the names of the tokenizer's bands; and
        what was done, '' if nothing.

    Raises:
        CheckpointError: If they are of other bands and the tokenizer does not fit them.
    """
    fitted, own = dict(weights), tokenizer.encoder.input.weight
    names, kernels = read_band_names(fitted, INPUT), fitted.get(f'{INPUT}weight')
    fitted.pop(f'{INPUT}{BAND_NAMES}', None)
    if tokenizer.bands is not None and kernels is not None:
        fitted[f'{INPUT}{BAND_NAMES}'] = pack_names(tokenizer.bands)
    # Of another width: whoever loads them refuses them.
    if kernels is None or kernels.ndim != 4 or kernels[:, 0].shape != own[:, 0].shape:
        return fitted, ''
    fit = BandFit(kernels.shape[1], own.shape[1], names, tokenizer.bands)
    if not fit.is_needed:
        return fitted, ''
    if not tokenizer.fit_bands:
        raise CheckpointError(
            f"fit_bands is False, and the tokenizer's bands are not those of its weights ({fit}): "
            'set its fit_bands=True, or its in_channels and bands to those of the weights'
        )
    fitted[f'{INPUT}weight'] = fit.inputs(kernels)
    # With a likelihood a mean and a scale are made of each band, else its value.
    parts = 2 if tokenizer.quantizer == 'gumbel' else 1
    for name in OUTPUTS:
        if name in fitted and len(fitted[name]) == parts * fit.old:
            fitted[name] = fit.outputs(fitted[name], parts)
    return fitted, f'tokenizer {fit}'
