"""The names that others give to BEiT's weights: one table, read in both directions."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
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
from .reading import CheckpointError

LAYOUTS = ('beit_mm', 'unilm', 'timm', 'huggingface', 'huggingface5', 'mmpretrain', 'mmseg')

# Which column of the table below a layout reads, and what a whole model puts before the names of
# its backbone. 'huggingface' are the names in files on the hub, which transformers reads in every
# version; 'huggingface5' those of transformers 5 in memory.
COLUMNS = dict(
    beit_mm=0, unilm=1, timm=1, huggingface=2, huggingface5=3, mmpretrain=4, mmseg=4
)  # fmt: skip
# What MMSegmentation, whose names are MMPretrain's otherwise, has no place for.
NOT_IN_MMSEG = ('mask_token', 'pos_embed', 'fc_norm.*', 'head.fc.*', 'head.classifier.*')
PREFIXES = dict(
    beit_mm='backbone.', unilm='', timm='', huggingface='beit.', huggingface5='beit.',
    mmpretrain='backbone.', mmseg='backbone.',
)  # fmt: skip

# Beside each table these keep the index that spells it out.
WITH_INDEX = ('unilm', 'mmpretrain', 'mmseg')
INDEX, TABLE = 'relative_position_index', 'relative_position_bias_table'

# {n} is the number of a block, * is weight or bias. A triple stands for the thirds of one matrix.
# beit_mm, unilm and timm, huggingface, huggingface5, mmpretrain and mmseg; None for what a layout
# has no place for.
BACKBONE = (
    ('cls_token', 'cls_token', 'embeddings.cls_token', 'embeddings.cls_token', 'cls_token'),
    ('mask_token', 'mask_token', 'embeddings.mask_token', 'embeddings.mask_token', 'mask_token'),
    ('pos_embed', 'pos_embed', 'embeddings.position_embeddings',
     'embeddings.position_embeddings', 'pos_embed'),
    ('patch_embed.proj.*', 'patch_embed.proj.*', 'embeddings.patch_embeddings.projection.*',
     'embeddings.patch_embeddings.projection.*', 'patch_embed.projection.*'),
    ('rel_pos_bias.table', f'rel_pos_bias.{TABLE}', f'encoder.relative_position_bias.{TABLE}',
     f'shared_position_bias.{TABLE}', f'rel_pos_bias.{TABLE}'),
    ('blocks.{n}.norm1.*', 'blocks.{n}.norm1.*', 'encoder.layer.{n}.layernorm_before.*',
     'layers.{n}.layernorm_before.*', 'layers.{n}.ln1.*'),
    ('blocks.{n}.attn.qkv.weight', 'blocks.{n}.attn.qkv.weight',
     tuple(f'encoder.layer.{{n}}.attention.attention.{part}.weight'
           for part in ('query', 'key', 'value')),
     tuple(f'layers.{{n}}.attention.{part}_proj.weight' for part in 'qkv'),
     'layers.{n}.attn.qkv.weight'),
    ('blocks.{n}.attn.q_bias', 'blocks.{n}.attn.q_bias',
     'encoder.layer.{n}.attention.attention.query.bias', 'layers.{n}.attention.q_proj.bias',
     'layers.{n}.attn.q_bias'),
    ('blocks.{n}.attn.v_bias', 'blocks.{n}.attn.v_bias',
     'encoder.layer.{n}.attention.attention.value.bias', 'layers.{n}.attention.v_proj.bias',
     'layers.{n}.attn.v_bias'),
    ('blocks.{n}.attn.proj.*', 'blocks.{n}.attn.proj.*',
     'encoder.layer.{n}.attention.output.dense.*', 'layers.{n}.attention.o_proj.*',
     'layers.{n}.attn.proj.*'),
    ('blocks.{n}.attn.rel_pos_bias.table', f'blocks.{{n}}.attn.{TABLE}',
     f'encoder.layer.{{n}}.attention.attention.relative_position_bias.{TABLE}',
     f'layers.{{n}}.relative_position_bias.{TABLE}', f'layers.{{n}}.attn.{TABLE}'),
    ('blocks.{n}.norm2.*', 'blocks.{n}.norm2.*', 'encoder.layer.{n}.layernorm_after.*',
     'layers.{n}.layernorm_after.*', 'layers.{n}.ln2.*'),
    ('blocks.{n}.mlp.fc1.*', 'blocks.{n}.mlp.fc1.*', 'encoder.layer.{n}.intermediate.dense.*',
     'layers.{n}.mlp.fc1.*', 'layers.{n}.ffn.layers.0.0.*'),
    ('blocks.{n}.mlp.fc2.*', 'blocks.{n}.mlp.fc2.*', 'encoder.layer.{n}.output.dense.*',
     'layers.{n}.mlp.fc2.*', 'layers.{n}.ffn.layers.1.*'),
    ('blocks.{n}.gamma_1', 'blocks.{n}.gamma_1', 'encoder.layer.{n}.lambda_1',
     'layers.{n}.lambda_1', 'layers.{n}.gamma_1'),
    ('blocks.{n}.gamma_2', 'blocks.{n}.gamma_2', 'encoder.layer.{n}.lambda_2',
     'layers.{n}.lambda_2', 'layers.{n}.gamma_2'),
    ('norm.*', 'norm.*', 'layernorm.*', 'layernorm.*', 'ln1.*'),
    ('fc_norm.*', 'fc_norm.*', 'pooler.layernorm.*', 'pooler.layernorm.*', 'ln2.*'),
)  # fmt: skip
HEADS = (
    ('head.fc.*', 'head.*', 'classifier.*', 'classifier.*', 'head.fc.*'),
    ('head.classifier.*', 'lm_head.*', 'lm_head.*', 'lm_head.*', 'head.cls_head.*'),
)

# Names that the OpenMMLab layouts have in common.
SHARED_PARTS = ('neck.', 'decode_head.', 'auxiliary_head.')
OPENMMLAB = ('beit_mm', 'mmpretrain', 'mmseg')

# What gives a layout away, tried in this order.
SIGNS = (
    ('huggingface', r'(beit\.)?encoder\.layer\.\d+\.attention\.attention\.query\.weight'),
    ('huggingface5', r'(beit\.)?layers\.\d+\.attention\.q_proj\.weight'),
    ('mmpretrain', r'(backbone\.)?layers\.\d+\.ffn\.layers\.0\.0\.weight'),
    ('unilm', r'(backbone\.)?blocks\.\d+\.attn\.qkv\.weight'),
)
# What MMPretrain's models have and MMSegmentation's have not; both name blocks alike.
OF_MMPRETRAIN = r'(backbone\.)?(ln2\..*|mask_token|pos_embed|rel_pos_bias\..*)|head\..*'
# A plain ViT has neither LayerScale nor tables, and a bias on the keys.
OF_BEIT = r'.*\.(gamma_1|lambda_1|q_bias|rel_pos_bias\.table|relative_position_bias_table)'
QUERY_BIAS, KEY_BIAS = r'.*\.(query|q_proj)\.bias', r'.*\.(key|k_proj)\.bias'


class Converted(NamedTuple):
    """Weights under other names.

    Attributes:
        state_dict: Name -> tensor.
        left_out: Names of the source that the other layout has no place for.
    """

    state_dict: dict[str, Tensor]
    left_out: list[str]


def find_layout(names: Iterable[str]) -> str | None:
    """One of ``LAYOUTS``, or None if these are not the names of a BEiT's weights."""
    names = list(names)

    def has(pattern: str) -> bool:
        return any(re.fullmatch(pattern, name) for name in names)

    layout = next((layout for layout, pattern in SIGNS if has(pattern)), None)
    if not has(OF_BEIT) and not (has(QUERY_BIAS) and not has(KEY_BIAS)):
        return None
    if layout == 'mmpretrain':
        return 'mmpretrain' if has(OF_MMPRETRAIN) else 'mmseg'
    if layout != 'unilm':
        return layout
    # unilm, timm and this project name the blocks alike and differ in what is around them.
    if has(r'backbone\..*|.*rel_pos_bias\.table|patch_grid'):
        return 'beit_mm'
    if has(f'.*{INDEX}'):
        return 'unilm'
    return 'timm' if has(rf'.*{TABLE}|(head|lm_head)\..*') else 'beit_mm'


def detect_layout(state_dict: Mapping[str, Tensor]) -> str:
    """Whose names the weights of a BEiT bear.

    Args:
        state_dict: Name -> tensor, of a bare backbone or of a whole model.

    Returns:
        'beit_mm', 'unilm', 'timm', 'huggingface', 'mmpretrain' or 'mmseg'. Backbones of
        MMPretrain and MMSegmentation have the same names; one that neither has what only
        MMPretrain knows nor a head is said to be of 'mmseg'.

    Raises:
        CheckpointError: If they are of none.
    """
    return _known_layout(state_dict).removesuffix('5')


def _known_layout(state_dict: Mapping[str, Tensor]) -> str:
    layout = find_layout(state_dict)
    if layout is None:
        raise CheckpointError(
            f'these are not the weights of a BEiT in a known layout ({", ".join(LAYOUTS)}); they '
            f'begin with {", ".join(list(state_dict)[:3])}'
        )
    return layout


def convert_state_dict(state_dict: Mapping[str, Tensor], to: str) -> dict[str, Tensor]:
    """Weights of a BEiT, backbone and heads, under another library's names.

    A whole model (one with a head, or whose backbone has a prefix) becomes a whole model, a bare
    backbone a bare backbone. What the other layout has no place for is left out, and the log
    names it. Tensors are not copied unless they must be cut or joined.

    Args:
        state_dict: Name -> tensor, in any of the layouts of :func:`detect_layout`.
        to: One of them; 'huggingface' gives the names of files on the hub, which every version
            of transformers reads, 'huggingface5' those that transformers 5 has in memory.

    Returns:
        Name -> tensor. Under 'beit_mm' tables come with ``patch_grid``, int64 (h, w), if the
        source says what their grid is. For MMSegmentation, which knows no shared table, such a
        table is copied to every block.

    Raises:
        CheckpointError: If the layout is not known, two weights of the source stand for one, or
            an index does not fit its table, or is to be written for a table whose grid is
            neither known nor square.
        ValueError: If ``to`` is none of the layouts.
    """
    if to not in LAYOUTS:
        raise ValueError(f'to={to!r} is none of {", ".join(LAYOUTS)}')
    converted, left_out = translate(state_dict, _known_layout(state_dict), to)
    if left_out:
        print_log(f'{to} has no place for {summarize(left_out)}', logger='current')
    return converted


def translate(state_dict: Mapping[str, Tensor], source: str, target: str) -> Converted:
    """As :func:`convert_state_dict`, from a layout that is known."""
    if source == target:
        return Converted(dict(state_dict), [])
    ours, left_out = _read(state_dict, source)
    written, no_place = _write(ours, target)
    return Converted(written, left_out + no_place)


def _alternatives(name: str | tuple | None) -> tuple[str, ...]:
    return name if isinstance(name, tuple) else () if name is None else (name,)


def _pattern(name: str) -> re.Pattern:
    pattern = re.escape(name).replace(r'\{n\}', r'(?P<n>\d+)')
    return re.compile(pattern.replace(r'\*', '(?P<leaf>weight|bias)'))


def _fill(name: str, match: re.Match) -> str:
    fields = match.groupdict()
    return name.replace('{n}', fields.get('n', '')).replace('*', fields.get('leaf', ''))


def _read(state_dict: Mapping[str, Tensor], layout: str) -> tuple[dict[str, Tensor], list[str]]:
    """Weights under this project's names, and the names that are not in the table."""
    column, prefix = COLUMNS[layout], PREFIXES[layout]
    rows = [(row, True) for row in BACKBONE] + [(row, False) for row in HEADS]
    rules = [
        (_pattern(name), row[0], part, len(_alternatives(row[column])), of_backbone)
        for row, of_backbone in rows
        for part, name in enumerate(_alternatives(row[column]))
    ]
    whole = any(
        (prefix and name.startswith(prefix))
        or any(pattern.fullmatch(name) for pattern, *_, of_backbone in rules if not of_backbone)
        for name in state_dict
    )

    found, sources, left_out, grids = {}, {}, [], {}
    for name, tensor in state_dict.items():
        stem = name.removeprefix(prefix)
        if stem.endswith(INDEX):
            grids[name] = grid_of_index(tensor)
            continue
        if layout in OPENMMLAB and name.startswith(SHARED_PARTS):
            found[name] = {0: tensor}, 1
            continue
        if layout == 'beit_mm' and stem == 'patch_grid':
            found[f'{prefix * whole}patch_grid'] = {0: tensor}, 1
            continue
        for pattern, own, part, parts, of_backbone in rules:
            match = pattern.fullmatch(stem if of_backbone else name)
            if match:
                own = f'{PREFIXES["beit_mm"] * (whole and of_backbone)}{_fill(own, match)}'
                pieces, _ = found.setdefault(own, ({}, parts))
                if part in pieces:
                    raise CheckpointError(f'{sources[own, part]} and {name} both stand for {own}')
                pieces[part] = tensor
                sources[own, part] = name
                break
        else:
            left_out.append(name)

    weights = {}
    for own, (pieces, parts) in found.items():
        if len(pieces) != parts:
            raise CheckpointError(f'of the {parts} parts of {own} the weights have {len(pieces)}')
        weights[own] = (
            torch.cat([pieces[part] for part in range(parts)]) if parts > 1 else pieces[0]
        )
    _add_grid(weights, grids, PREFIXES['beit_mm'] * whole)
    return weights, left_out


def _add_grid(weights: dict[str, Tensor], grids: dict[str, tuple | None], prefix: str) -> None:
    """Say what patch grid the tables are for, where an index tells."""
    for name, grid in grids.items():
        if grid is None:
            raise CheckpointError(f'{name} is not the index that BEiT has')
    if len(set(grids.values())) > 1:
        raise CheckpointError(f'{" and ".join(grids)} are for different patch grids')
    for grid in grids.values():
        for name, table in weights.items():
            if name.endswith('rel_pos_bias.table') and len(table) != num_relative_positions(grid):
                raise CheckpointError(
                    f'{name} has {len(table)} rows, but its index is for {grid[0]} x {grid[1]} '
                    'patches'
                )
        weights.setdefault(f'{prefix}patch_grid', torch.tensor(grid))


def _write(ours: Mapping[str, Tensor], layout: str) -> tuple[dict[str, Tensor], list[str]]:
    """Weights of this project under another layout's names, and the names without a place."""
    if layout == 'beit_mm':
        return dict(ours), []
    column = COLUMNS[layout]
    own_prefix = PREFIXES['beit_mm']
    whole = any(name.startswith((own_prefix, 'head.')) for name in ours)
    prefix = PREFIXES[layout] * whole
    rules = [(_pattern(row[0]), row[column], True) for row in BACKBONE]
    rules += [(_pattern(row[0]), row[column], False) for row in HEADS]
    if layout == 'mmseg':
        rules = [rule for rule in rules if rule[0] not in map(_pattern, NOT_IN_MMSEG)]
        ours = share_table(ours, own_prefix * whole)
    # Hugging Face's pre-training model keeps the last norm beside the head.
    norm_at_head = layout.startswith('huggingface') and 'head.classifier.weight' in ours

    written, left_out = {}, []
    for name, tensor in ours.items():
        stem = name.removeprefix(own_prefix)
        if stem == 'patch_grid':
            continue
        if layout in OPENMMLAB and name.startswith(SHARED_PARTS):
            written[name] = tensor
            continue
        for pattern, theirs, of_backbone in rules:
            match = pattern.fullmatch(stem if of_backbone else name)
            if match:
                names = [_fill(each, match) for each in _alternatives(theirs)]
                if of_backbone and not (norm_at_head and stem.startswith('norm.')):
                    names = [f'{prefix}{each}' for each in names]
                pieces = tensor.chunk(len(names)) if len(names) > 1 else [tensor]
                written.update(zip(names, pieces, strict=True))
                if stem.endswith('rel_pos_bias.table') and layout in WITH_INDEX:
                    index_name = f'{names[0].removesuffix(TABLE)}{INDEX}'
                    written[index_name] = _index_of(ours, name, own_prefix)
                break
        else:
            left_out.append(name)
    return written, left_out


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
        for block in blocks:
            shared.setdefault(f'{block}attn.rel_pos_bias.table', table.clone())
    return shared


def _index_of(ours: Mapping[str, Tensor], table: str, prefix: str) -> Tensor:
    known = ours.get(f'{prefix}patch_grid', ours.get('patch_grid'))
    grid = square_grid(len(ours[table])) if known is None else tuple(known.tolist())
    if grid is None:
        raise CheckpointError(
            f'{table} has {len(ours[table])} rows: its patch grid is not square, and the weights '
            'do not say what it is (patch_grid, int64 (h, w))'
        )
    return relative_position_index(grid)


def summarize(names: Iterable[str]) -> str:
    """Names for a log line: blocks as one, 'blocks.*.x (12)', as are other large parts."""
    groups = {}
    for name in names:
        groups.setdefault(re.sub(r'\.\d+\.', '.*.', name), []).append(name)
    parts = Counter(group.partition('.')[0] for group in groups)
    merged = {}
    for group, members in groups.items():
        part = group.partition('.')[0]
        large = parts[part] > 8 and part not in ('backbone', 'blocks')
        merged.setdefault(f'{part}.*' if large else group, []).extend(members)
    texts = [f'{g} ({len(m)})' if len(m) > 1 else m[0] for g, m in merged.items()]
    return ', '.join(texts) or 'none'
