"""What a tokenizer's weights say of its architecture."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..checkpoints import CheckpointError, load_tokenizer_state_dict, read_band_names
from .discrete_vae import DiscreteVAE
from .tokenizer_bands import INPUT

CODES = 'encoder.output.codebook.codes'


def settings_of_tokenizer(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of the :class:`DiscreteVAE` that weights are of.

    Args:
        weights: ``encoder.*``, and ``decoder.*`` if there is one.

    Raises:
        CheckpointError: If there is no whole encoder.
    """
    needed = (f'{INPUT}weight', 'encoder.output.conv.weight')
    missing = [name for name in needed if name not in weights]
    places = [
        (int(match[1]), int(match[2]))
        for name in weights
        if (match := re.match(r'encoder\.group_(\d+)\.block_(\d+)\.', name))
    ]
    if missing or not places:
        lost = ', '.join(missing) or 'its blocks'
        raise CheckpointError(f'no whole tokenizer: it lacks {lost}')
    codes, made = weights.get(CODES), weights['encoder.output.conv.weight']
    groups, blocks = (max(numbers) for numbers in zip(*places, strict=True))
    settings = dict(
        quantizer='gumbel' if codes is None else 'vector',
        vocab_size=len(made if codes is None else codes),
        hidden=len(weights[f'{INPUT}weight']),
        num_groups=groups,
        blocks_per_group=blocks,
        in_channels=weights[f'{INPUT}weight'].shape[1],
        bands=read_band_names(weights, INPUT),
        with_decoder='decoder.input.weight' in weights,
    )
    if codes is not None:
        settings['code_dims'] = codes.shape[1]
    if settings['with_decoder']:
        settings['decoder_input'] = len(weights['decoder.input.weight'])
    return settings


def load_tokenizer(*paths: Any) -> DiscreteVAE:
    """A tokenizer of any size, by its weights alone; on the CPU, in eval mode.

    Args:
        paths: See :func:`beit_mm.checkpoints.load_tokenizer_state_dict`.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If a file cannot be read, or there is no whole tokenizer in it.
    """
    weights = load_tokenizer_state_dict(list(paths))
    tokenizer = DiscreteVAE(**settings_of_tokenizer(weights))
    try:
        tokenizer.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f'{paths[0]}: no whole tokenizer: {error}') from None
    return tokenizer.eval()
