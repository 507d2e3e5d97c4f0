"""Weights from a file into a backbone: any public layout, any resolution, any bands."""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ..checkpoints import (
    PREFIX,
    CheckpointError,
    find_layout,
    is_whole,
    of_the_function,
    read_patch_grid,
    share_table,
    summarize,
    translate,
)
from ..layers.positions import resize_axis
from ..layers.relative_position import relative_positions
from ..layers.resize_positions import resize_absolute_positions, resize_relative_table
from ..relative_index import num_relative_positions, square_grid
from .input_bands import fit_input

# What a model may lack altogether, group by group: their initial value, zero, is what it has.
ZERO_AT_FIRST = (('.q_bias', '.v_bias'), ('rel_pos_bias.table',))


PROJECTION = 'patch_embed.proj.weight'
# What MMPretrain's classes for classification heads call the same layer.
HEADS = ('head.fc.', 'head.layers.head.')
# Absolute positions of the input or of blocks; of two dimensions where an axis has a table.
ABSOLUTE = re.compile(r'(blocks\.\d+\.)?pos_embed(_shared)?(?P<axis>\.rows|\.columns)?')


class Backbone(Protocol):
    """What weights are fitted to: a Transformer with or without positions.

    Attributes:
        grid: Patch grid (h, w) that its positions are made for.
        embed_dims: Width of its tokens.
        num_extra_tokens: Tokens before those of the patches.
        blocks: Of :class:`beit_mm.layers.block.Block`.
        patch_embed: Whose ``input`` takes the bands of an image.
        bands: Their names, or None.
        fit_bands: Whether weights of other bands are fitted, or refused.
    """

    grid: tuple[int, int]
    embed_dims: int
    num_extra_tokens: int
    blocks: Any
    patch_embed: Any
    bands: tuple[str, ...] | None
    fit_bands: bool


class Fitted(NamedTuple):
    """Weights as a model takes them.

    Attributes:
        state_dict: Name in the model -> tensor.
        resized: What was resampled: (name, its grid, the backbone's grid).
        bands: What was done for other bands, '' if nothing.
    """

    state_dict: dict[str, Tensor]
    resized: list[tuple[str, tuple[int, int], tuple[int, int]]]
    bands: str


def fit_state_dict(backbone: Backbone, state_dict: Mapping[str, Tensor]) -> Fitted:
    """Give weights of a backbone, in any layout and of any resolution, a backbone's own form.

    A shared relative position table is copied to every block of a backbone with a table a block,
    as the paper's fine-tuning does; tables and positions are resampled to the backbone's grid; the
    projection of patches is fitted to its bands, see :class:`beit_mm.layers.fit_bands.BandFit`,
    which takes bands for normalised alike. Public weights expect (x / 255 - mean) / std with a
    mean and a standard deviation for each band: normalise a new band by its own.

    Args:
        backbone: Who shall load them; not changed.
        state_dict: Weights of a bare backbone or of a whole model. What is not of the backbone
            stays in the result under its name, or the one it has in this project.

    Raises:
        CheckpointError: If tables or positions have a shape or dtype that the backbone's cannot be
            resampled from, or their grid cannot be known; if the weights are of other bands and the
            backbone does not fit them.
    """
    layout = find_layout(state_dict) or 'beit_mm'
    translated, left_out = translate(state_dict, layout, 'beit_mm')
    fitted = {name.removeprefix(PREFIX): tensor for name, tensor in translated.items()}
    fitted.update({name: state_dict[name] for name in left_out})
    if backbone.blocks[0].attn.rel_pos_bias is not None:
        fitted = share_table(fitted)

    if not backbone.num_extra_tokens and 'cls_token' in fitted:
        _leave_token_out(fitted)
    _check_tokens(backbone, fitted)
    _check_heads(backbone, fitted.pop('num_heads', None))
    _check_positions(backbone, fitted)
    source, target = _source_grid(fitted, backbone), backbone.grid
    resized = []
    for name, tensor in fitted.items():
        if source == target:
            break
        if name.endswith('rel_pos_bias.table'):
            positions = relative_positions(source, target, tensor.device)
            assert positions.resize is not None
            fitted[name] = resize_relative_table(tensor, positions.resize)
            resized.append((name, source, target))
        elif match := ABSOLUTE.fullmatch(name):
            if match['axis']:
                fitted[name] = resize_axis(tensor, target[_axis_of(match)])
            else:
                fitted[name] = resize_absolute_positions(tensor, source, target)
            resized.append((name, source, target))
    fitted['patch_grid'] = torch.tensor(target)
    return Fitted(fitted, resized, _fit_first_layer(backbone, fitted))


def _leave_token_out(weights: dict[str, Tensor]) -> None:
    """Take the positions of [S] away, for a backbone that has none."""
    tokens = weights['cls_token'].shape[1]
    for name, tensor in weights.items():
        match = ABSOLUTE.fullmatch(name)
        if match and not match['axis'] and tensor.ndim == 3:
            weights[name] = tensor[:, tokens:]


def _axis_of(match: re.Match) -> int:
    return ('.rows', '.columns').index(match['axis'])


def _fit_first_layer(backbone: Backbone, fitted: dict[str, Tensor]) -> str:
    """Fit the layer that takes images to a backbone's bands; returns what was done."""
    embed = backbone.patch_embed
    fit = fit_input(
        backbone, embed.input.weight, fitted, f'patch_embed.{embed.input_name}.weight', ''
    )
    what = 'patch projection' if embed.stem is None else "the stem's first layer"
    return f'{what} {fit}' if fit else ''


def _check_tokens(backbone: Backbone, weights: Mapping[str, Tensor]) -> None:
    """Refuse whole weights of another number of tokens before those of the patches."""
    token = weights.get('cls_token')
    tokens = 0 if token is None else token.shape[:2][-1]
    own = backbone.num_extra_tokens
    if own and tokens != own and {'pos_embed', PROJECTION} <= weights.keys():
        raise CheckpointError(
            f'no whole backbone as the config describes it: its num_extra_tokens is {tokens}, that '
            f'of this backbone {own}'
        )


def _check_heads(backbone: Backbone, said: Tensor | None) -> None:
    """Refuse weights of another number of heads, whose shapes are the same."""
    heads = backbone.blocks[0].attn.num_heads
    if said is not None and int(said) != heads:
        raise CheckpointError(f'its attention has {int(said)} heads, that of this backbone {heads}')


def _check_positions(backbone: Backbone, weights: Mapping[str, Tensor]) -> None:
    """Refuse positions that cannot be resampled for a backbone."""
    heads = backbone.blocks[0].attn.num_heads
    for name, tensor in weights.items():
        if name.endswith('rel_pos_bias.table'):
            fits = tensor.ndim == 2 and tensor.shape[1] == heads
            wanted = f'(n, {heads})'
        elif match := ABSOLUTE.fullmatch(name):
            width = backbone.embed_dims // (2 if match['axis'] else 1)
            fits = tensor.ndim == 3 and tensor.shape[::2] == (1, width)
            wanted = f'(1, n, {width})'
        else:
            continue
        if not fits or not tensor.is_floating_point():
            raise CheckpointError(
                f'{name} has the shape {tuple(tensor.shape)} and dtype {tensor.dtype}, positions '
                f'of this backbone have {wanted} and floating numbers'
            )


def _source_grid(weights: Mapping[str, Tensor], backbone: Backbone) -> tuple[int, int]:
    """The patch grid that positions were made for.

    As the weights say; else the backbone's own, if it is of their size; else a square.
    """
    rows = {n: len(t) for n, t in weights.items() if n.endswith('rel_pos_bias.table')}
    absolute = {n: m for n in weights if (m := ABSOLUTE.fullmatch(n))}
    places = {n: weights[n].shape[1] for n, match in absolute.items() if not match['axis']}
    axes = {_axis_of(m): weights[n].shape[1] for n, m in absolute.items() if m['axis']}
    sizes = {**rows, **places}
    known, own, tokens = read_patch_grid(weights), backbone.grid, backbone.num_extra_tokens
    if len(axes) == 2:
        # Said by the tables themselves.
        return axes[0], axes[1]
    if not sizes:
        return own

    guesses: list[tuple[int, int] | None]
    if known is not None:
        # A column of patches has the same offsets as a row.
        guesses = [own] if known == own[::-1] and 1 in known else [known]
    else:
        side = math.isqrt(max(0, next(iter(places.values()), 1) - tokens))
        guesses = [own, square_grid(next(iter(rows.values()))) if rows else (side, side)]
    for grid in filter(None, guesses):
        fit_rows = all(size == num_relative_positions(grid) for size in rows.values())
        if fit_rows and all(size == tokens + grid[0] * grid[1] for size in places.values()):
            return grid
    name, size = next(iter(sizes.items()))
    raise CheckpointError(
        f'{name} is of size {size}: it does not fit the patch grid that the weights name, '
        f'{known[0]} x {known[1]}'
        if known is not None
        else f'{name} is of size {size}: its patch grid is not square, and the weights do not say '
        'what it is (patch_grid, int64 (h, w))'
    )


def fit_model(
    model: nn.Module, prefix: str, weights: Mapping[str, Tensor], source: str, written: str = ''
) -> dict[str, Tensor]:
    """Weights of a BEiT or ViT in any layout, as a model takes them; the log says how it went.

    Args:
        model: A :class:`BEiT`, or a model with one inside, such as a classifier. Not changed.
        prefix: What the names of the backbone's weights begin with: '', or 'backbone.'.
        weights: Of a whole model or of a bare backbone.
        source: Where they come from, for messages.
        written: The layout there, for messages, where they have been translated since.

    Returns:
        Name in ``model`` -> tensor, the model's shapes throughout. Weights of a head of another
        size are left out, and so are norms and tokens of the backbone that the model has not.

    Raises:
        CheckpointError: If they are of no known layout; if the backbone lacks some of them, has
            them in another size, or has no place for weights of blocks or positions.
    """
    if prefix not in ('', PREFIX) and f'{prefix}patch_embed.proj.weight' in weights:
        # The model's own weights, in a model that calls its backbone otherwise.
        weights = {
            f'{PREFIX}{name.removeprefix(prefix)}' if name.startswith(prefix) else name: tensor
            for name, tensor in weights.items()
        }
    try:
        layout = find_layout(weights)
        if layout is None:
            raise CheckpointError(
                f'no weights of a Vision Transformer in a known layout; they begin with '
                f'{", ".join(list(weights)[:3])}'
            )
        candidates, fitted, unknown = _candidates(model, prefix, weights, layout)
        own = model.state_dict()
        _check_sizes(prefix, candidates, own)
        loaded = {
            name: tensor
            for name, tensor in candidates.items()
            if name in own and tensor.shape == own[name].shape
        }
        unused = unknown + [name for name in candidates if name not in loaded]
        _check_whole(prefix, loaded, own)
        if extra := of_the_function(name.removeprefix(prefix) for name in unused):
            raise CheckpointError(
                f'of another backbone than the config describes, which has no place for '
                f'{summarize(extra)}: compare arch, use_abs_pos_emb, use_rel_pos_bias, '
                'use_shared_rel_pos_bias and layer_scale_init_value'
            )
    except CheckpointError as error:
        raise CheckpointError(f'{source}: {error}') from None
    missing = [name for name in own if name not in loaded]
    bands = f'{fitted.bands}; ' if fitted.bands else ''
    print_log(
        f'{source}: layout {written or layout}, loaded {len(loaded)} of {len(own)} tensors; '
        f'resized {_describe(fitted.resized)}; {bands}missing {summarize(missing)}; '
        f'unused {summarize(unused)}',
        logger='current',
    )
    return loaded


def _candidates(
    model: nn.Module, prefix: str, weights: Mapping[str, Tensor], layout: str
) -> tuple[dict[str, Tensor], Fitted, list[str]]:
    """Weights under the model's names, those of the backbone, and names that have no place."""
    backbone: Any = model.get_submodule(prefix.removesuffix('.'))
    converted, unknown = translate(weights, layout, 'beit_mm')
    before = PREFIX if is_whole(converted, 'beit_mm') else ''
    of_backbone = {n.removeprefix(before): t for n, t in converted.items() if n.startswith(before)}
    others = {n: t for n, t in converted.items() if not n.startswith(before)}
    for one, other in (HEADS, HEADS[::-1]):
        if f'{one}weight' in model.state_dict():
            # The same layer.
            others = {n.replace(other, one): t for n, t in others.items()}
    fitted = fit_state_dict(backbone, of_backbone)
    named = {f'{prefix}{name}': tensor for name, tensor in fitted.state_dict.items()}
    return {**named, **others}, fitted, unknown


def _check_sizes(prefix: str, candidates: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuse a backbone of another size, and numbers of another kind."""
    for name in own:
        if name not in candidates:
            continue
        ours, theirs = own[name], candidates[name]
        if name.startswith(prefix) and ours.shape != theirs.shape:
            raise CheckpointError(
                f'of a backbone of another size: {name} is {tuple(theirs.shape)} there and '
                f'{tuple(ours.shape)} here'
            )
        if ours.is_floating_point() and not theirs.is_floating_point():
            raise CheckpointError(f'{name} is of {theirs.dtype}, not of floating numbers')


def _check_whole(prefix: str, loaded: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuse weights that would leave blocks, embeddings or positions untrained."""
    optional: tuple[str, ...] = ()
    for endings in ZERO_AT_FIRST:
        if not any(name.endswith(endings) for name in loaded):
            optional += endings
    parts = ('blocks.', 'patch_embed.', 'cls_token', 'pos_embed', 'rel_pos_bias.', 'axial')
    needed = tuple(f'{prefix}{part}' for part in parts)
    lost = [n for n in own if n.startswith(needed) and n not in loaded and not n.endswith(optional)]
    if lost:
        raise CheckpointError(
            'no whole backbone as the config describes it: it lacks '
            f'{summarize(lost[:3])}{"..." if len(lost) > 3 else ""}'
        )


def _describe(resized: list[tuple[str, tuple[int, int], tuple[int, int]]]) -> str:
    """'12 tables 14 x 14 -> 24 x 24'."""
    kinds: dict[tuple, list[str]] = {}
    for name, source, target in resized:
        kind = 'absolute positions' if ABSOLUTE.fullmatch(name) else 'relative tables'
        kinds.setdefault((kind, source, target), []).append(name)
    texts = [
        f'{len(names)} {kind} {source[0]} x {source[1]} -> {target[0]} x {target[1]}'
        for (kind, source, target), names in kinds.items()
    ]
    return ', '.join(texts) or 'nothing'
