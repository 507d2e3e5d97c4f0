"""Weights from a file into a backbone: any public layout, any resolution."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from ..checkpoints import (
    CheckpointError,
    find_layout,
    load_state_dict,
    share_table,
    summarize,
    translate,
)
from ..relative_index import num_relative_positions, square_grid
from .relative_position import relative_positions, resize_relative_table

if TYPE_CHECKING:
    from .beit import BEiT

# Where a whole model of this project holds its backbone.
PREFIX = 'backbone.'


class Fitted(NamedTuple):
    """Weights as a model takes them.

    Attributes:
        state_dict: Name in the model -> tensor.
        resized: What was resampled: (name, its grid, the backbone's grid).
    """

    state_dict: dict[str, Tensor]
    resized: list[tuple[str, tuple[int, int], tuple[int, int]]]


def resize_absolute_positions(
    positions: Tensor, source: tuple[int, int], target: tuple[int, int]
) -> Tensor:
    """Resample absolute positions to another grid, bicubic; that of [S] stays (released code).

    Args:
        positions: (1, 1 + h w, C), [S] first.
        source: Their grid (h, w).
        target: The wanted grid (h', w').

    Returns:
        (1, 1 + h' w', C). Differentiable.
    """
    if source == target:
        return positions
    patches = positions[:, 1:].transpose(1, 2).unflatten(2, source).float()
    patches = F.interpolate(patches, size=target, mode='bicubic', align_corners=False)
    patches = patches.flatten(2).transpose(1, 2).to(positions.dtype)
    return torch.cat([positions[:, :1], patches], dim=1)


def fit_state_dict(backbone: BEiT, state_dict: Mapping[str, Tensor]) -> Fitted:
    """Give weights of a backbone, in any layout and of any resolution, a backbone's own form.

    A shared relative position table is copied to every block of a backbone with a table a block,
    as the paper's fine-tuning does; tables and positions are resampled to the backbone's grid.

    Args:
        backbone: Who shall load them; not changed.
        state_dict: Weights of a bare backbone or of a whole model. What is not of the backbone
            stays in the result under its name, or the one it has in this project.

    Raises:
        CheckpointError: If the grid of positions that must be resampled cannot be known.
    """
    layout = find_layout(state_dict) or 'beit_mm'
    translated, left_out = translate(state_dict, layout, 'beit_mm')
    fitted = {name.removeprefix(PREFIX): tensor for name, tensor in translated.items()}
    fitted.update({name: state_dict[name] for name in left_out})
    if backbone.blocks[0].attn.rel_pos_bias is not None:
        fitted = share_table(fitted)

    source, target = _grid_of(fitted, backbone.grid), backbone.grid
    resized = []
    for name, tensor in fitted.items():
        if source == target:
            break
        if name.endswith('rel_pos_bias.table'):
            matrices = relative_positions(source, target, tensor.device).resize
            fitted[name] = resize_relative_table(tensor, matrices)
            resized.append((name, source, target))
        elif name == 'pos_embed':
            fitted[name] = resize_absolute_positions(tensor, source, target)
            resized.append((name, source, target))
    fitted['patch_grid'] = torch.tensor(target)
    return Fitted(fitted, resized)


def _grid_of(weights: Mapping[str, Tensor], own: tuple[int, int]) -> tuple[int, int]:
    """The patch grid that positions were made for.

    As the weights say; else the backbone's own, if it is of their size; else a square.
    """
    rows = {
        name: t.shape[:1].numel()
        for name, t in weights.items()
        if name.endswith('rel_pos_bias.table')
    }
    sizes = dict(rows)
    for name in (*rows, 'pos_embed'):
        shape = tuple(weights[name].shape) if name in weights else None
        if shape is not None and len(shape) != (2 if name in rows else 3):
            raise CheckpointError(f'{name} has the shape {shape}, which no positions have')
    if 'pos_embed' in weights:
        sizes['pos_embed'] = weights['pos_embed'].shape[1]
    if not sizes:
        return own

    def fits(grid: tuple[int, int]) -> bool:
        places = 1 + grid[0] * grid[1]
        return all(
            size == (num_relative_positions(grid) if name in rows else places)
            for name, size in sizes.items()
        )

    known = weights.get('patch_grid')
    if known is not None:
        grid = tuple(known.flatten().tolist())
        # A column of patches has the same offsets as a row.
        guesses = [own] if grid == own[::-1] and 1 in grid else [grid]
    else:
        side = math.isqrt(max(0, sizes.get('pos_embed', 1) - 1))
        guesses = [own, square_grid(next(iter(rows.values()))) if rows else (side, side)]
    for grid in guesses:
        if grid is not None and len(grid) == 2 and fits(grid):
            return grid
    name, size = next(iter(sizes.items()))
    raise CheckpointError(
        f'{name} is of size {size}: it does not fit the patch grid that the weights name'
        if known is not None
        else f'{name} is of size {size}: its patch grid is not square, and the weights do not say '
        'what it is (patch_grid, int64 (h, w))'
    )


def load_pretrained(backbone: BEiT, path: str) -> None:
    """See :meth:`BEiT.load_pretrained`."""
    fitted = fit_model(backbone, '', load_state_dict(path), path)
    backbone.load_state_dict(fitted, strict=False)


def fit_model(
    model: nn.Module, prefix: str, weights: Mapping[str, Tensor], source: str
) -> dict[str, Tensor]:
    """Weights of a BEiT in any layout, as a model takes them; the log says what became of them.

    Args:
        model: A :class:`BEiT`, or a model with one inside, such as a classifier. Not changed.
        prefix: What the names of the backbone's weights begin with: '', or 'backbone.'.
        weights: Of a whole model or of a bare backbone.
        source: Where they come from, for messages.

    Returns:
        Name in ``model`` -> tensor, the model's shapes throughout. Weights of a head of another
        size are left out.

    Raises:
        CheckpointError: If they lack weights of the backbone's blocks, or have them in another
            size.
    """
    backbone = model.get_submodule(prefix.removesuffix('.'))
    if prefix not in ('', PREFIX) and any(name.startswith(prefix) for name in weights):
        # The model's own weights, in a model that calls its backbone otherwise.
        weights = {
            f'{PREFIX}{name.removeprefix(prefix)}' if name.startswith(prefix) else name: tensor
            for name, tensor in weights.items()
        }
    layout = find_layout(weights)
    try:
        converted, unused = translate(weights, layout or 'beit_mm', 'beit_mm')
        whole = any(name.startswith(PREFIX) for name in converted)
        of_backbone = {n: t for n, t in converted.items() if n.startswith(PREFIX) or not whole}
        fitted, resized = fit_state_dict(
            backbone, {n.removeprefix(PREFIX): t for n, t in of_backbone.items()}
        )
    except CheckpointError as error:
        raise CheckpointError(f'{source}: {error}') from None
    candidates = {f'{prefix}{name}': tensor for name, tensor in fitted.items()}
    candidates.update({n: t for n, t in converted.items() if n not in of_backbone})

    own = model.state_dict()
    loaded = {n: t for n, t in candidates.items() if n in own and own[n].shape == t.shape}
    unused = unused + [name for name in candidates if name not in loaded]
    missing = [name for name in own if name not in loaded]
    _check_backbone(source, prefix, loaded, candidates, own)
    print_log(
        f'{source}: layout {layout or "unknown"}, loaded {len(loaded)} of {len(own)} tensors; '
        f'resized {_describe(resized)}; missing {summarize(missing)}; unused {summarize(unused)}',
        logger='current',
    )
    return loaded


def _check_backbone(source: str, prefix: str, loaded: dict, candidates: dict, own: dict) -> None:
    """Refuse weights that would leave the backbone untrained, in part or as a whole."""
    backbone = [
        name for name in own if name.startswith((f'{prefix}blocks.', f'{prefix}patch_embed.'))
    ]
    other_size = [name for name in backbone if name in candidates and name not in loaded]
    if other_size:
        name = other_size[0]
        raise CheckpointError(
            f'{source} is of a backbone of another size: {name} is '
            f'{tuple(candidates[name].shape)} there and {tuple(own[name].shape)} here'
        )
    # Zero, their initial value, is what a model without these has; some blocks alone cannot lack
    # them.
    optional = [
        ending
        for ending in ('q_bias', 'v_bias', 'rel_pos_bias.table')
        if not any(name.endswith(ending) for name in loaded)
    ]
    needed = [*backbone, f'{prefix}cls_token']
    lost = [n for n in needed if n not in loaded and not n.endswith(tuple(optional))]
    if lost:
        raise CheckpointError(
            f'{source} holds no whole BEiT backbone in a known layout: it lacks '
            f'{summarize(lost[:3])}{"..." if len(lost) > 3 else ""}'
        )


def _describe(resized: list[tuple[str, tuple[int, int], tuple[int, int]]]) -> str:
    """'12 tables 14 x 14 -> 24 x 24'."""
    kinds = {}
    for name, source, target in resized:
        kind = 'absolute positions' if name == 'pos_embed' else 'relative tables'
        kinds.setdefault((kind, source, target), []).append(name)
    texts = [
        f'{len(names)} {kind} {source[0]} x {source[1]} -> {target[0]} x {target[1]}'
        for (kind, source, target), names in kinds.items()
    ]
    return ', '.join(texts) or 'nothing'
