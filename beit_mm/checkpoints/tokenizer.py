"""Weights of an image tokenizer under this project's names, whoever published them."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from .checkpoint_error import CheckpointError
from .reading import load_state_dict

HOW_TO_GET_ONE = (
    "OpenAI's tokenizer is at https://cdn.openai.com/dall-e/encoder.pkl (and decoder.pkl), and, as "
    'MMPretrain publishes it, at '
    'https://download.openmmlab.com/mmselfsup/1.x/target_generator_ckpt/dalle_encoder.pth ; '
    'tools/train.py configs/dvae_train.py trains one on your own images'
)


def load_tokenizer_state_dict(path: str | Path | Sequence[str | Path]) -> dict[str, Tensor]:
    """Read a tokenizer's weights.

    Args:
        path: A checkpoint of a ``DiscreteVAE`` that the Runner wrote, of a pre-training run that
            holds one, OpenAI's ``encoder.pkl``, or MMPretrain's ``dalle_encoder.pth``; a path or
            a URL. Or several of them whose parts add up, as OpenAI's ``encoder.pkl`` and
            ``decoder.pkl`` do.

    Returns:
        Name in ``DiscreteVAE`` -> tensor: ``encoder.*``, and ``decoder.*`` if there is one.

    Raises:
        FileNotFoundError: If there is no such file; the message says how to get one.
        CheckpointError: If a file cannot be read or there is no tokenizer in it.
    """
    paths = [path] if isinstance(path, (str, Path)) else path
    tensors = {}
    for each in paths:
        tensors.update(_load_part(each))
    if 'encoder.input.weight' not in tensors:
        raise CheckpointError(
            f'{", ".join(map(str, paths))} holds a decoder and no encoder. {HOW_TO_GET_ONE}'
        )
    return tensors


def _load_part(path: str | Path) -> dict[str, Tensor]:
    try:
        tensors = load_state_dict(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f'{error}. {HOW_TO_GET_ONE}') from None
    for prefix in ('target_generator.tokenizer.', 'target_generator.'):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    if 'blocks.input.w' in tensors:
        # Both of OpenAI's networks name their layers alike; the encoder begins with 7 x 7 pixels.
        part = 'encoder' if tensors['blocks.input.w'].shape[-1] > 1 else 'decoder'
        tensors = {
            _from_dalle(name, part): tensor
            for name, tensor in tensors.items()
            if name.startswith('blocks.')
        }
    tensors = {n: t for n, t in tensors.items() if n.startswith(('encoder.', 'decoder.'))}
    if not {'encoder.input.weight', 'decoder.input.weight'} & tensors.keys():
        raise CheckpointError(f'{path} holds no image tokenizer. {HOW_TO_GET_ONE}')
    return tensors


def _from_dalle(name: str, part: str) -> str:
    """blocks.group_1.block_1.res_path.conv_1.w -> encoder.group_1.block_1.res_path.conv_1.weight"""
    stem, _, leaf = name.removeprefix('blocks.').rpartition('.')
    leaf = {'w': 'weight', 'b': 'bias'}.get(leaf, leaf)
    return f'{part}.{stem}.{leaf}'
