"""What weights, and the config beside them, say of their architecture."""

import logging
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log
from torch import Tensor

from ..checkpoints import (
    CheckpointError,
    known_layout,
    read_band_names,
    read_patch_grid,
    translate,
)
from ..relative_index import square_grid
from .hybrid_stem import stride_for
from .sizes import ARCHS

TABLE = 'rel_pos_bias.table'
# MMPretrain's small ViT, and what timm's was at first.
FIRST_SMALL = dict(embed_dims=768, num_layers=8, num_heads=8, feedforward_channels=2304)


def settings_of(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the :class:`BEiT` or :class:`VisionTransformer` that weights are of.

    Args:
        weights: Of a backbone, under this project's names.
        config: The config beside them, of transformers or timm; may be empty.

    Returns:
        ``arch``, ``img_size``, ``patch_size``, ``in_channels``, ``bands``, ``stem`` of a hybrid,
        what there is of positions, LayerScale, mask token and norms, and ``out_type``:
        'avg_featmap' if a norm behind the mean is among the weights, else 'raw'. ``img_size`` is
        None if nothing tells it, and so is ``num_heads`` of ``arch``, which tables of relative
        positions, sizes with names and configs do.

    Raises:
        CheckpointError: If they are of no Vision Transformer.
    """
    depth = _depth(weights)
    blocks = [f'blocks.{index}.' for index in range(depth)]
    needed = ('patch_embed.proj.weight', *(f'{b}mlp.fc1.weight' for b in blocks[:1]))
    missing = [name for name in needed if name not in weights]
    if empty := [name for name, tensor in weights.items() if not tensor.numel()]:
        raise CheckpointError(f'no whole Vision Transformer: {empty[0]} holds no number')
    if missing or not depth:
        raise CheckpointError(
            f'no whole Vision Transformer: it lacks {", ".join(missing) or "blocks"}'
        )
    projection = weights['patch_embed.proj.weight']
    stem, stages = {}, _stages(weights)
    first, stride = projection, 1
    if stages is not None:
        stem = dict(stem=dict(type='beit_mm.HybridStem', stages=stages))
        first, stride = weights['patch_embed.stem.root.conv.weight'], stride_for(stages)
    if projection.ndim != 4 or weights['blocks.0.mlp.fc1.weight'].ndim != 2:
        raise CheckpointError(
            'no Vision Transformer: patch_embed.proj.weight has the shape '
            f'{tuple(projection.shape)}, which must be (width, channels, height, width)'
        )
    if 'rope' in str(config.get('architecture')):
        raise CheckpointError(
            f'its config has the architecture {config["architecture"]}, whose rotary positions '
            'are not computed here'
        )
    told = _told_by(config)
    if told.get('hidden_act', 'gelu') != 'gelu':
        raise CheckpointError(
            f'its config has hidden_act {told["hidden_act"]!r}; what is read here has gelu'
        )
    sizes = dict(
        embed_dims=len(projection),
        num_layers=depth,
        feedforward_channels=len(weights['blocks.0.mlp.fc1.weight']),
    )
    own = any(name.startswith('blocks.') and name.endswith(TABLE) for name in weights)
    patch_size = tuple(side * stride for side in projection.shape[2:])
    averages = _has_norm(weights, 'fc_norm')
    return dict(
        arch=dict(sizes, num_heads=_heads(weights, told, sizes)),
        img_size=_image_size(weights, told, patch_size),
        patch_size=patch_size,
        in_channels=first.shape[1],
        bands=read_band_names(weights),
        out_type='avg_featmap' if averages else 'raw',
        use_abs_pos_emb='pos_embed' in weights,
        use_rel_pos_bias=own,
        use_shared_rel_pos_bias=TABLE in weights and not own,
        layer_scale_init_value=0.1 if 'blocks.0.gamma_1' in weights else 0.0,
        final_norm=_has_norm(weights, 'norm'),
        with_mask_token='mask_token' in weights,
        **stem,
    )


def _has_norm(weights: Mapping[str, Tensor], name: str) -> bool:
    """Whether a norm is among the weights.

    Raises:
        CheckpointError: If half of one is.
    """
    halves = [f'{name}.weight', f'{name}.bias']
    missing = [half for half in halves if half not in weights]
    if len(missing) == 1:
        raise CheckpointError(f'no whole Vision Transformer: it lacks {missing[0]}')
    return not missing


def _stages(weights: Mapping[str, Tensor]) -> tuple[int, ...] | None:
    """Blocks of each stage of a hybrid; None of what has no stem."""
    if 'patch_embed.stem.root.conv.weight' not in weights:
        return None
    pattern = re.compile(r'patch_embed\.stem\.stages\.(\d+)\.(\d+)\.conv1\.weight')
    blocks = [match for name in weights if (match := pattern.fullmatch(name))]
    depths = Counter(int(match[1]) for match in blocks)
    return tuple(depths[index] for index in sorted(depths))


def positions_of(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """``positions`` and ``positions_at`` of the :class:`VisionTransformer` that weights are of."""
    places = {
        'pos_embed': 'input',
        'pos_embed_shared': 'every_block_shared',
        'blocks.0.pos_embed': 'every_block',
    }
    for name, place in places.items():
        for kind, ending in (('learned', ''), ('learned-2d', '.rows')):
            if f'{name}{ending}' in weights:
                return dict(positions=kind, positions_at=place)
    return dict(positions=None)


def _depth(weights: Mapping[str, Tensor]) -> int:
    """Number of blocks.

    Raises:
        CheckpointError: If one is missing among them.
    """
    found = {int(match[1]) for name in weights if (match := re.match(r'blocks\.(\d+)\.', name))}
    if found != set(range(len(found))):
        lost = min(set(range(len(found))) - found)
        raise CheckpointError(
            f'no whole Vision Transformer: it has block {max(found)} and lacks block {lost}'
        )
    return len(found)


def _told_by(config: Mapping[str, Any]) -> dict[str, Any]:
    """What shapes do not say, from a config of transformers or timm."""
    if 'architecture' in config:
        of_weights = config.get('pretrained_cfg') or config
        of_model = config.get('model_args') or {}
        size = of_model.get('img_size') or (of_weights.get('input_size') or [None])[1:]
        return {'num_heads': of_model.get('num_heads'), 'image_size': size}
    names = ('num_attention_heads', 'image_size', 'hidden_act')
    told = {name: config[name] for name in names if name in config}
    return {**told, 'num_heads': told.get('num_attention_heads')}


def _heads(weights: Mapping[str, Tensor], told: Mapping[str, Any], sizes: dict) -> int | None:
    for name, tensor in weights.items():
        if name.endswith(TABLE) and tensor.ndim == 2:
            return tensor.shape[1]
    if 'num_heads' in weights:
        return int(weights['num_heads'])
    if told.get('num_heads'):
        return told['num_heads']
    for size in (*ARCHS.values(), FIRST_SMALL):
        if sizes.items() <= size.items():
            return size['num_heads']
    of_width = (size for size in ARCHS.values() if size['embed_dims'] == sizes['embed_dims'])
    heads = next((size['num_heads'] for size in of_width), None)
    if heads is not None:
        print_log(
            f'{sizes["num_layers"]} blocks of width {sizes["embed_dims"]} are no size with a name; '
            f'{heads} heads are taken, as those of this width have, and num_heads= says otherwise',
            logger='current',
            level=logging.WARNING,
        )
    return heads


def _image_size(
    weights: Mapping[str, Tensor], told: Mapping[str, Any], patch_size: tuple[int, ...]
) -> tuple[int, int] | None:
    """Height and width in pixels that the positions are for."""
    grid = read_patch_grid(weights)
    size = told.get('image_size')
    if grid is None and size:
        pair = (size, size) if isinstance(size, int) else tuple(size)
        if len(pair) != 2 or any(n % patch for n, patch in zip(pair, patch_size, strict=True)):
            raise CheckpointError(
                f'its config has images of {size}, which patches of {patch_size} do not divide'
            )
        return pair
    if grid is None:
        grid = _square_grid(weights)
    return None if grid is None else (grid[0] * patch_size[0], grid[1] * patch_size[1])


def _square_grid(weights: Mapping[str, Tensor]) -> tuple[int, int] | None:
    """The square patch grid that positions fit."""
    for name, tensor in weights.items():
        if name.endswith(TABLE):
            return square_grid(len(tensor))
        if name == 'pos_embed' and tensor.ndim == 3:
            patches = tensor.shape[1] - tokens_of(weights)
            side = math.isqrt(max(0, patches))
            return (side, side) if side and side * side == patches else None
    return None


def tokens_of(weights: Mapping[str, Tensor]) -> int:
    """Tokens before those of the patches."""
    token = weights.get('cls_token')
    return 0 if token is None else token.shape[:2][-1]


# Of MAE's decoder (paper, A.1).
HEADS_OF_DECODER = {512: 16}


def decoder_settings_of(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the :class:`MAEDecoder` among weights.

    Args:
        weights: Of a whole model, in any layout.
        config: The config beside them, of transformers; may be empty.

    Returns:
        ``encoder_dims``, ``embed_dims``, ``num_layers``, ``feedforward_channels``, and
        ``num_heads``, which is None if neither the config nor the paper's width tells it.

    Raises:
        CheckpointError: If there is no decoder, or it lacks a block.
    """
    ours = translate(weights, known_layout(weights), 'beit_mm').state_dict
    beginning = 'decoder.'
    decoder = {n.removeprefix(beginning): t for n, t in ours.items() if n.startswith(beginning)}
    if 'embed.weight' not in decoder:
        raise CheckpointError(
            'it has no decoder, which fills in what is hidden: these are the weights of an encoder '
            'alone'
        )
    depth = _depth(decoder)
    missing = [n for n in ('mask_token', 'blocks.0.mlp.fc1.weight') if n not in decoder]
    if missing:
        raise CheckpointError(f'no whole decoder: it lacks {", ".join(missing)}')
    width, encoder_dims = decoder['embed.weight'].shape
    told = config.get('decoder_num_attention_heads')
    return dict(
        encoder_dims=encoder_dims,
        embed_dims=width,
        num_layers=depth,
        num_heads=told or HEADS_OF_DECODER.get(width),
        feedforward_channels=len(decoder['blocks.0.mlp.fc1.weight']),
    )
