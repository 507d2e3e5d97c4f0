"""Weights of a Vision Transformer from one library's names to another's."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from mmengine.logging import print_log
from torch import Tensor

from ..relative_index import (
    grid_of_index,
    num_relative_positions,
    relative_position_index,
    square_grid,
)
from .band_names import BAND_NAMES
from .checkpoint_error import CheckpointError
from .distilled import cut_distilled, join_distilled
from .jax_names import read_jax, write_jax
from .layout_tables import INDEX, TABLE
from .layouts import (
    BEIT,
    LAYOUTS,
    OF_JAX,
    OF_VIT_ALONE,
    OLD_NAMES,
    OPENMMLAB,
    PREFIX,
    SHARED_PARTS,
    VIT,
    WITH_INDEX,
    Rule,
    fill,
    is_whole,
    kind_of,
    known_layout,
    of_the_function,
    pattern_of,
    prefix_for,
    prefix_of,
    root_alone,
    rules_of,
    summarize,
    with_stages,
)

# The last layer of a classifier, as a part of a head that may have another one before it (ViT).
HEAD_OF_TOKEN = ('head.fc.', 'head.layers.head.')
# What a Vision Transformer has in each, of what not all have.
NEEDED = dict(
    torchvision=('class_token', 'encoder.pos_embedding', 'encoder.ln.weight'),
    jax=('posembed_input/pos_embedding', 'encoder_norm/scale'),
    big_vision=('pos_embedding', 'encoder_norm/scale'),
    huggingface=('embeddings.cls_token',),
    huggingface5=('embeddings.cls_token',),
)
# What this project's weights say of themselves.
SAID = ('patch_grid', 'num_heads', 'axial', BAND_NAMES)


class Converted(NamedTuple):
    """Weights under other names.

    Attributes:
        state_dict: Name -> tensor.
        left_out: Names of the source that the other layout has no place for.
    """

    state_dict: dict[str, Tensor]
    left_out: list[str]


def convert_state_dict(
    state_dict: Mapping[str, Tensor], to: str, num_heads: int | None = None
) -> dict[str, Tensor]:
    """Weights of a BEiT, ViT or MAE, backbone and heads, under another library's names.

    A whole model (one with a head, or whose backbone has a prefix) becomes a whole model, a bare
    backbone a bare backbone. What the other layout has no place for is left out, and the log
    names it. Tensors are not copied unless they must be cut or joined.

    Args:
        state_dict: Name -> tensor, in any of the layouts of :func:`detect_layout`.
        to: One of them; 'huggingface' gives the names of files on the hub, which every version
            of transformers reads, 'huggingface5' those that transformers 5 has in memory.
        num_heads: Of a block, which JAX's arrays are cut into; not needed where the source is cut
            so too.

    Returns:
        Name -> tensor. Under 'beit_mm' tables come with ``patch_grid``, int64 (h, w), if the
        source says what their grid is, and weights of JAX with ``num_heads``, int64 (). For
        MMSegmentation, which knows no shared table, such a table is copied to every block.

    Raises:
        CheckpointError: If the layout is not known; if the other one has no place for weights of
            blocks or positions; if two weights of the source stand for one; if an index does not
            fit its table, or is to be written for a table whose grid is neither known nor square.
        ValueError: If ``to`` is none of the layouts.
    """
    if to not in LAYOUTS:
        raise ValueError(f'to={to!r} is none of {", ".join(LAYOUTS)}')
    converted, left_out = translate(state_dict, known_layout(state_dict), to, num_heads)
    lost = of_the_function(left_out)
    if to.startswith('huggingface') or to in OF_VIT_ALONE:
        # The classifier of BEiT has this norm there, others read [S] in place of the mean.
        lost += [name for name in left_out if 'fc_norm.' in name]
    if any('head' in name or 'classifier' in name for name in converted):
        # What the head reads.
        lost += [name for name in left_out if 'pre_logits.' in name]
    # Of a second token for distillation transformers has another model.
    lost += [name for name in left_out if name.endswith('dist_token')]
    lost += [name for name in converted if 'distillation_token' in name]
    if lost:
        raise CheckpointError(
            f'{to} has no place for {summarize(lost)}, and without them it is another model'
        )
    missing = [end for end in NEEDED.get(to, ()) if not any(n.endswith(end) for n in converted)]
    if missing and kind_of(converted) != BEIT:
        raise CheckpointError(
            f'it has no {", ".join(missing)}, as models of {to} have, and without is another model'
        )
    if left_out:
        print_log(f'{to} has no place for {summarize(left_out)}', logger='current')
    return converted


def translate(
    state_dict: Mapping[str, Tensor], source: str, target: str, num_heads: int | None = None
) -> Converted:
    """As :func:`convert_state_dict`, from a layout that is known."""
    if source == target:
        return Converted(dict(state_dict), [])
    ours, left_out = (_read_jax if source in OF_JAX else _read)(state_dict, source)
    if target in OF_JAX:
        written, no_place = _write_jax(ours, target, num_heads)
    else:
        written, no_place = _write(ours, target)
    return Converted(written, left_out + no_place)


def _read_jax(arrays: Mapping[str, Tensor], layout: str) -> Converted:
    backbone, of_head, left_out = read_jax(arrays, layout)
    prefix = PREFIX if of_head else ''
    return Converted({**{f'{prefix}{n}': t for n, t in backbone.items()}, **of_head}, left_out)


def _write_jax(ours: Mapping[str, Tensor], layout: str, num_heads: int | None) -> Converted:
    prefix = PREFIX * is_whole(ours, 'beit_mm')
    ours = cut_distilled(ours, prefix)
    own = {n.removeprefix(prefix): t for n, t in ours.items() if n.startswith(prefix)}
    others = {name: tensor for name, tensor in ours.items() if not name.startswith(prefix)}
    known = own.pop('num_heads', None)
    own.pop('patch_grid', None)
    num_heads = num_heads if known is None else int(known)
    if num_heads is None:
        raise CheckpointError(
            f'{layout} cuts attention into heads, and nothing says how many there are: give '
            'num_heads='
        )
    return Converted(*write_jax(own, others, layout, num_heads))


def _find(
    patterns: list[tuple[re.Pattern, Rule, int]], name: str, stem: str
) -> tuple[Rule, int, re.Match] | None:
    """The rule for a name, which without its prefix is ``stem``, and which part of it it is."""
    for pattern, rule, part in patterns:
        match = pattern.fullmatch(stem if rule.of_backbone else name)
        if match:
            return rule, part, match
    return None


def _read(state_dict: Mapping[str, Tensor], layout: str) -> Converted:
    """Weights under this project's names."""
    prefix = prefix_of(state_dict, layout)
    own_prefix = PREFIX * is_whole(state_dict, layout)
    patterns = [
        (pattern_of(theirs), rule, part)
        for rule in rules_of(layout, kind_of(state_dict))
        for part, theirs in enumerate(rule.theirs)
    ]
    # Our name -> part -> their name; our name -> number of parts.
    sources: dict[str, dict[int, str]] = {}
    parts: dict[str, int] = {}
    grids: dict[str, tuple[int, int] | None] = {}
    left_out = []
    for name, tensor in state_dict.items():
        clean = name
        for old, new in OLD_NAMES:
            clean = clean.replace(old, new)
        stem = with_stages(clean.removeprefix(prefix))
        if stem.endswith(INDEX):
            grids[name] = grid_of_index(tensor)
            continue
        part = 0
        if layout == 'beit_mm' and stem in SAID:
            own = f'{own_prefix}{stem}'
        elif found := _find(patterns, clean, stem):
            rule, part, match = found
            own = f'{own_prefix * rule.of_backbone}{fill(rule.ours, match)}'
            parts[own] = len(rule.theirs)
        elif prefix == PREFIX and name.startswith(SHARED_PARTS):
            own = name
        else:
            left_out.append(name)
            continue
        named = sources.setdefault(own, {})
        if part in named:
            raise CheckpointError(f'{named[part]} and {name} both stand for {own}')
        named[part] = name

    weights = {
        own: _join(own, parts.get(own, 1), {part: state_dict[n] for part, n in named.items()})
        for own, named in sources.items()
    }
    _add_grid(weights, grids, own_prefix)
    weights = join_distilled(weights, own_prefix)
    if 'head.layers.pre_logits.weight' in weights:
        weights = {n.replace(*HEAD_OF_TOKEN): t for n, t in weights.items()}
    return Converted(weights, left_out)


def _join(name: str, parts: int, pieces: Mapping[int, Tensor]) -> Tensor:
    """One matrix from its parts, which begin at 0."""
    if len(pieces) != parts:
        raise CheckpointError(f'of the {parts} parts of {name} the weights have {len(pieces)}')
    if parts == 1:
        return pieces[0]
    if len({piece.shape for piece in pieces.values()}) > 1 or not pieces[0].ndim:
        shapes = ', '.join(str(tuple(pieces[part].shape)) for part in range(parts))
        raise CheckpointError(f'the parts of {name} do not fit together: {shapes}')
    return torch.cat([pieces[part] for part in range(parts)])


def _cut(name: str, tensor: Tensor, parts: int) -> Sequence[Tensor]:
    """The opposite of :func:`_join`."""
    if parts == 1:
        return [tensor]
    if not tensor.ndim or len(tensor) % parts:
        raise CheckpointError(f'{name}, {tuple(tensor.shape)}, cannot be cut into {parts} parts')
    return tensor.chunk(parts)


def _add_grid(weights: dict[str, Tensor], grids: dict[str, tuple | None], prefix: str) -> None:
    """Say what patch grid the tables are for, where an index tells."""
    known = set()
    for name, grid in grids.items():
        if grid is None:
            raise CheckpointError(f'{name} is not the index that BEiT has')
        known.add(grid)
    if len(known) > 1:
        raise CheckpointError(f'{" and ".join(grids)} are for different patch grids')
    for grid in known:
        for name in weights:
            if name.endswith('rel_pos_bias.table'):
                _check_rows(name, weights[name], grid)
        weights.setdefault(f'{prefix}patch_grid', torch.tensor(grid))


def _check_rows(name: str, table: Tensor, grid: tuple[int, int]) -> None:
    if table.ndim != 2 or len(table) != num_relative_positions(grid):
        raise CheckpointError(
            f'{name} has the shape {tuple(table.shape)}, but a table for {grid[0]} x {grid[1]} '
            f'patches has {num_relative_positions(grid)} rows'
        )


def _write(ours: Mapping[str, Tensor], layout: str) -> Converted:
    """Weights of this project under another layout's names."""
    if layout == 'beit_mm':
        return Converted(dict(ours), [])
    whole = is_whole(ours, 'beit_mm')
    kind = kind_of(ours)
    ours = cut_distilled(ours, PREFIX * whole)
    own_prefix, prefix = PREFIX * whole, prefix_for(layout, kind) * whole
    if layout == 'mmseg':
        ours = share_table(ours, own_prefix)
    if layout == 'mmpretrain' and kind == VIT and f'{own_prefix}fc_norm.weight' not in ours:
        # There the classifier of [S] is another class than the one of the mean.
        ours = {n.replace(*HEAD_OF_TOKEN): t for n, t in ours.items()}
    # Hugging Face's pre-training model keeps the last norm beside the head.
    norm_at_head = layout.startswith('huggingface') and 'head.classifier.weight' in ours
    patterns = [(pattern_of(rule.ours), rule, 0) for rule in rules_of(layout, kind)]

    written, left_out = {}, []
    for name, tensor in ours.items():
        stem = name.removeprefix(own_prefix)
        if stem in ('patch_grid', 'num_heads'):
            continue
        found = _find(patterns, name, stem)
        if found is None and layout in OPENMMLAB and name.startswith(SHARED_PARTS):
            written[name] = tensor
            continue
        if found is None:
            left_out.append(name)
            continue
        rule, _, match = found
        prefixed = rule.of_backbone and not (norm_at_head and stem.startswith('norm.'))
        names = [f'{prefix * prefixed}{fill(theirs, match)}' for theirs in rule.theirs]
        written.update(zip(names, _cut(name, tensor, len(names)), strict=True))
        if stem.endswith('rel_pos_bias.table') and layout in WITH_INDEX:
            index = _index_of(name, tensor, read_patch_grid(ours, own_prefix))
            written[f'{names[0].removesuffix(TABLE)}{INDEX}'] = index
    return Converted(root_alone(written), left_out)


def read_patch_grid(ours: Mapping[str, Tensor], prefix: str = '') -> tuple[int, int] | None:
    """The patch grid (h, w) that weights under this project's names say they are for, or None.

    Raises:
        CheckpointError: If it is no pair of positive whole numbers.
    """
    known = ours.get(f'{prefix}patch_grid')
    if known is None:
        return None
    if known.shape != (2,) or known.dtype != torch.int64 or known.min() < 1:
        raise CheckpointError(
            f'{prefix}patch_grid is {known.tolist()} of {known.dtype}; it must be the height and '
            'width of the patch grid, int64'
        )
    return tuple(known.tolist())


def _index_of(name: str, table: Tensor, grid: tuple[int, int] | None) -> Tensor:
    grid = grid or square_grid(table.shape[:1].numel())
    if grid is None:
        raise CheckpointError(
            f'{name} has {table.shape[:1].numel()} rows: its patch grid is not square, and the '
            'weights do not say what it is (patch_grid, int64 (h, w))'
        )
    _check_rows(name, table, grid)
    return relative_position_index(grid)


def share_table(ours: Mapping[str, Tensor], prefix: str = '') -> dict[str, Tensor]:
    """Copy a table that all blocks share to each block, as the paper's fine-tuning does.

    Args:
        ours: Weights under this project's names.
        prefix: What the names of the backbone begin with.
    """
    shared = dict(ours)
    table = shared.pop(f'{prefix}rel_pos_bias.table', None)
    blocks = {m[0] for name in ours if (m := re.match(rf'{re.escape(prefix)}blocks\.\d+\.', name))}
    if table is not None:
        for name in (f'{block}attn.rel_pos_bias.table' for block in blocks):
            # With both, a block adds both (transformers).
            own = shared.get(name, torch.zeros_like(table))
            if own.shape != table.shape:
                raise CheckpointError(f'{name} and the shared table are of different sizes')
            shared[name] = own + table
    return shared
