"""Weights of an image tokenizer for images of other bands than it was trained on."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .input_bands import fit_input

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
    fitted = dict(weights)
    fit = fit_input(tokenizer, tokenizer.encoder.input.weight, fitted, f'{INPUT}weight', INPUT)
    if fit is None:
        return fitted, ''
    # With a likelihood a mean and a scale are made of each band, else its value.
    parts = 2 if tokenizer.quantizer == 'gumbel' else 1
    for name in OUTPUTS:
        if name in fitted and len(fitted[name]) == parts * fit.old:
            fitted[name] = fit.outputs(fitted[name], parts)
    return fitted, f'tokenizer {fit}'
