"""DeiT with distillation: a second token, and a classifier of its own (arXiv 2012.12877, 4).

The prediction is the mean of both classifiers'. Here both tokens are one parameter, and both
classifiers one layer, which reads both tokens, one beside the other.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from .checkpoint_error import CheckpointError

TOKEN, OTHER = 'cls_token', 'dist_token'
# MMPretrain's head of one token may have another layer before the classifier.
HEADS, OTHER_HEAD = ('head.fc', 'head.layers.head'), 'head.layers.head_dist'


def join_distilled(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Weights with this project's names, whose tokens and classifiers are two, as one of each.

    Args:
        weights: Of any Vision Transformer.
        prefix: What the names of the backbone begin with.

    Raises:
        CheckpointError: If one of the two is missing, or they are of different sizes.
    """
    joined = dict(weights)
    other = joined.pop(f'{prefix}{OTHER}', None)
    if other is None:
        return joined
    try:
        joined[f'{prefix}{TOKEN}'] = torch.cat([joined[f'{prefix}{TOKEN}'], other], dim=1)
        if f'{OTHER_HEAD}.weight' in joined:
            head = next(name for name in HEADS if f'{name}.weight' in joined)
            matrices, biases = (
                [joined.pop(f'{name}.{leaf}') for name in (head, OTHER_HEAD)]
                for leaf in ('weight', 'bias')
            )
            joined['head.fc.weight'] = torch.cat(matrices, dim=1) / 2
            joined['head.fc.bias'] = (biases[0] + biases[1]) / 2
    except (KeyError, StopIteration, RuntimeError, IndexError) as error:
        raise CheckpointError(
            f'it has {OTHER} as DeiT with distillation has, and not the rest of it: {error}'
        ) from None
    return joined


def cut_distilled(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The opposite of :func:`join_distilled`; both classifiers get the one bias.

    Raises:
        CheckpointError: If the classifier does not read both tokens.
    """
    cut = dict(weights)
    tokens = cut.get(f'{prefix}{TOKEN}')
    if tokens is None or tokens.ndim != 3 or tokens.shape[1] != 2:
        return cut
    cut[f'{prefix}{TOKEN}'], cut[f'{prefix}{OTHER}'] = tokens.split(1, dim=1)
    for name in HEADS:
        if f'{name}.weight' in cut:
            matrix, width = cut[f'{name}.weight'], tokens.shape[2]
            if matrix.shape[1:] != (2 * width,):
                raise CheckpointError(
                    f'{name}.weight is {tuple(matrix.shape)}; to be cut into a classifier of each '
                    f'of the two tokens it must read both, {2 * width} numbers'
                )
            parts = (2 * matrix).split(width, dim=1)
            cut[f'{name}.weight'], cut[f'{OTHER_HEAD}.weight'] = parts
            cut[f'{OTHER_HEAD}.bias'] = cut[f'{name}.bias']
    return cut
