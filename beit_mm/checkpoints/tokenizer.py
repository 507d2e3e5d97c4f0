"""Weights of an image tokenizer under this project's names, whoever published them."""

from pathlib import Path

from torch import Tensor

from .reading import CheckpointError, load_state_dict

HOW_TO_GET_ONE = (
    "OpenAI's tokenizer, as MMPretrain publishes it, is at "
    'https://download.openmmlab.com/mmselfsup/1.x/target_generator_ckpt/dalle_encoder.pth ; '
    'tools/train.py configs/dvae_train.py trains one on your own images'
)


def load_tokenizer_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Read a tokenizer's weights.

    Args:
        path: A checkpoint of a ``DiscreteVAE`` that the Runner wrote, of a pre-training run that
            holds one, or MMPretrain's ``dalle_encoder.pth``; a path or a URL.

    Returns:
        Name in ``DiscreteVAE`` -> tensor: ``encoder.*``, and ``decoder.*`` if the file has one.

    Raises:
        FileNotFoundError: If there is no such file; the message says how to get one.
        CheckpointError: If the file cannot be read or holds no tokenizer.
    """
    try:
        tensors = load_state_dict(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f'{error}. {HOW_TO_GET_ONE}') from None
    tensors = {name.removeprefix('target_generator.tokenizer.'): t for name, t in tensors.items()}
    if 'blocks.input.w' in tensors:
        tensors = {_from_dalle(name): tensor for name, tensor in tensors.items()}
    tensors = {n: t for n, t in tensors.items() if n.startswith(('encoder.', 'decoder.'))}
    if 'encoder.input.weight' not in tensors:
        raise CheckpointError(f'{path} holds no image tokenizer. {HOW_TO_GET_ONE}')
    return tensors


def _from_dalle(name: str) -> str:
    """blocks.group_1.block_1.res_path.conv_1.w -> encoder.group_1.block_1.res_path.conv_1.weight"""
    stem, _, leaf = name.removeprefix('blocks.').rpartition('.')
    leaf = {'w': 'weight', 'b': 'bias'}.get(leaf, leaf)
    return f'encoder.{stem}.{leaf}'
