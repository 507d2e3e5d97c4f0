"""The tokenizer of a pre-training with its decoder, which training itself does without."""

from collections.abc import Mapping
from typing import Any

import torch

from ..checkpoints import load_tokenizer_state_dict
from ..registry import MODELS
from .discrete_vae import DiscreteVAE


def whole_tokenizer(generator: Mapping[str, Any]) -> DiscreteVAE | None:
    """Read the tokenizer that targets are made by, to turn tokens into images.

    Args:
        generator: Config of a :class:`DVAETargetGenerator`.

    Returns:
        On the CPU, in eval mode; None if its checkpoint has no decoder, or it has no checkpoint.
        No random number is drawn.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        RuntimeError: If it is of a tokenizer of another size.
        CheckpointError: If it is for other bands, and the tokenizer does not fit them.
    """
    if generator.get('checkpoint') is None:
        return None
    weights = load_tokenizer_state_dict(generator['checkpoint'])
    if not any(name.startswith('decoder.') for name in weights):
        return None
    # Training does without the decoder, so that its config may not say how wide that is.
    width = dict(decoder_input=len(weights['decoder.input.weight']))
    with torch.random.fork_rng(devices=[]):
        tokenizer = MODELS.build({**width, **generator['tokenizer'], 'with_decoder': True})
    tokenizer.load_state_dict(weights)
    return tokenizer.eval()
