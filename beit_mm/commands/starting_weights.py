"""The weights that a run starts from, and the network that they are of."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..checkpoints import locate
from ..checkpoints.folders import read_mean_and_std
from ..component import ConfigError
from ..models import load
from .choices import Machine, choose_batch, choose_sizes, values_for_backbone
from .photos import Photos
from .trained import CLASSIFIER, PRETRAINED, SEGMENTOR

NONE = 'none'
# ImageNet's, in [0, 255]: what this project's recipes normalise by.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def weights_of(given: str) -> str:
    """What a user names: of a command's folder the weights in it, of a path all of it.

    A run that is gone on with from elsewhere finds them there.
    """
    path = Path(given).expanduser()
    for _, name in (PRETRAINED, CLASSIFIER, SEGMENTOR):
        if (path / name).is_file():
            return str(path.resolve() / name)
    return str(path.resolve()) if path.exists() else given


def mean_and_std_of(weights: str) -> tuple[list[float], list[float]]:
    """How images are normalised for weights, in [0, 255]; ImageNet's where nothing says so."""
    found = read_mean_and_std(locate(weights))
    if found is None:
        return list(MEAN), list(STD)
    mean, std = (np.multiply(values, 255).round(4).tolist() for values in found)
    return mean, std


def values_of_weights(
    weights: str, photos: Photos, machine: Machine, size: int | None
) -> dict[str, Any]:
    """Variables that the recipes behind a pre-training share.

    Args:
        weights: What ``beit_mm.load`` takes, or 'none' for a network from scratch, of a size that
            is chosen by the images and the machine.
        photos: To learn from.
        machine: It runs on.
        size: Of an image, if the user says so; without, that of the weights.

    Raises:
        ConfigError: If the size does not divide into patches.
    """
    if weights == NONE:
        sizes = choose_sizes(len(photos.train), photos.short_side, machine, size)
        return dict(
            values_for_backbone(sizes),
            weights=None,
            mean=list(MEAN),
            std=list(STD),
            batch_size=sizes.batch_size,
            layer_decay_rate=1.0,
        )
    weights = weights_of(weights)
    model = load(weights)
    block = model.blocks[0]
    patch = model.patch_size[0]
    check_size(size, patch)
    arch = dict(
        embed_dims=model.embed_dims,
        num_layers=model.num_layers,
        num_heads=block.attn.num_heads,
        feedforward_channels=block.mlp.fc1.out_features,
    )
    image_size = size or model.grid[0] * patch
    mean, std = mean_and_std_of(weights)
    return dict(
        weights=dict(type='Pretrained', checkpoint=weights),
        arch=arch,
        embed_dims=model.embed_dims,
        image_size=image_size,
        patch_size=patch,
        use_abs_pos_emb=model.pos_embed is not None,
        layer_scale=0.0 if isinstance(block.gamma_1, float) else 0.1,
        mean=mean,
        std=std,
        batch_size=choose_batch(len(photos.train), (image_size // patch) ** 2, arch, machine),
        layer_decay_rate=0.65 if model.num_layers >= 12 else 0.75,
    )


def check_size(size: int | None, patch: int) -> None:
    """Hold a size against the patch of weights.

    Raises:
        ConfigError: If it is no multiple.
    """
    if size is not None and size % patch:
        raise ConfigError(
            f'--size is {size}; it must be a multiple of {patch}, the patch of the weights, such '
            f'as {max(patch, round(size / patch) * patch)}'
        )


def check_same_weights(known: Mapping[str, Any] | None, given: str) -> None:
    """Hold the weights that a run began with against those that are given.

    Raises:
        ConfigError: If they are others.
    """
    was = NONE if known is None else known['checkpoint']
    if given != was and weights_of(given) != was:
        raise ConfigError(
            f'--weights is {given}, and the run in --out began with {was}: begin another run in '
            'another --out'
        )
