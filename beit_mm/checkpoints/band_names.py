"""The names of the bands that weights were trained with, kept among the weights."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .checkpoint_error import CheckpointError

# Of a tensor, so that every tool that keeps weights keeps it.
BAND_NAMES = 'band_names'


def pack_names(names: Sequence[str]) -> Tensor:
    """Names as a tensor: UTF-8, a line each, (n,) uint8."""
    return torch.tensor(list('\n'.join(names).encode()), dtype=torch.uint8)


def read_band_names(weights: Mapping[str, Tensor], prefix: str = '') -> tuple[str, ...] | None:
    """The names that weights under this project's names say their bands have, or None.

    Args:
        weights: Name -> tensor.
        prefix: What stands before ``band_names``, such as 'encoder.input.' in a tokenizer.

    Raises:
        CheckpointError: If there are some that are no names.
    """
    packed = weights.get(f'{prefix}{BAND_NAMES}')
    if packed is None:
        return None
    try:
        if packed.dtype != torch.uint8:
            raise ValueError(f'it is of {packed.dtype}')
        names = tuple(bytes(packed.tolist()).decode().split('\n'))
        if not all(names) or len(set(names)) < len(names):
            raise ValueError(f'it says {names}')
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f'{prefix}{BAND_NAMES} must be different names, UTF-8, a line each, as uint8: {error}'
        ) from None
    return names
