"""The names that others give to BEiT's weights: one table, read in both directions."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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

# Which column of the tables below a layout reads. 'huggingface' are the names in files on the hub,
# which transformers reads in every version; 'huggingface5' those of transformers 5 in memory.
COLUMNS = dict(
    beit_mm=0, unilm=1, timm=1, huggingface=2, huggingface5=3, mmpretrain=4, mmseg=4
)  # fmt: skip
# What a whole model puts before the names of its backbone.
PREFIXES = dict(
    beit_mm='backbone.', unilm='', timm='', huggingface='beit.', huggingface5='beit.',
    mmpretrain='backbone.', mmseg='backbone.',
)  # fmt: skip
PREFIX = PREFIXES['beit_mm']
# What MMSegmentation, whose names are MMPretrain's otherwise, has no place for, in our names.
NOT_IN_MMSEG = ('mask_token', 'pos_embed', 'fc_norm.*', 'head.fc.*', 'head.classifier.*')

# Beside each table these keep the index that spells it out.
WITH_INDEX = ('unilm', 'mmpretrain', 'mmseg')
INDEX, TABLE = 'relative_position_index', 'relative_position_bias_table'

# {n} is the number of a block, * is weight or bias. A triple stands for the thirds of one matrix.
# The columns: beit_mm; unilm and timm; huggingface; huggingface5; mmpretrain and mmseg.
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
    if not all(isinstance(name, str) for name in names):
        return None

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
    if has(f'.*{TABLE}'):
        return 'unilm' if has(f'.*{INDEX}') else 'timm'
    if has(r'backbone\..*|.*rel_pos_bias\.table|patch_grid'):
        return 'beit_mm'
    return 'timm' if has(r'(head|lm_head)\..*') else 'beit_mm'


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
            f'begin with {", ".join(map(str, list(state_dict)[:3]))}'
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
        CheckpointError: If the layout is not known; if the other one has no place for weights of
            blocks or positions; if two weights of the source stand for one; if an index does not
            fit its table, or is to be written for a table whose grid is neither known nor square.
        ValueError: If ``to`` is none of the layouts.
    """
    if to not in LAYOUTS:
        raise ValueError(f'to={to!r} is none of {", ".join(LAYOUTS)}')
    converted, left_out = translate(state_dict, _known_layout(state_dict), to)
    if lost := of_the_function(left_out):
        raise CheckpointError(
            f'{to} has no place for {summarize(lost)}, and without them it is another model'
        )
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


class _Rule(NamedTuple):
    """A row of the tables, for one layout.

    Attributes:
        ours: The name here.
        theirs: The name there, or the names of the parts that one matrix is cut into.
        of_backbone: Whether a whole model puts its prefix before it.
    """

    ours: str
    theirs: tuple[str, ...]
    of_backbone: bool


def _rules(layout: str) -> list[_Rule]:
    rules = []
    for table, of_backbone in ((BACKBONE, True), (HEADS, False)):
        for row in table:
            theirs = row[COLUMNS[layout]]
            if not (layout == 'mmseg' and row[0] in NOT_IN_MMSEG):
                theirs = theirs if isinstance(theirs, tuple) else (theirs,)
                rules.append(_Rule(row[0], theirs, of_backbone))
    return rules


def _pattern(name: str) -> re.Pattern:
    pattern = re.escape(name).replace(r'\{n\}', r'(?P<n>\d+)')
    return re.compile(pattern.replace(r'\*', '(?P<leaf>weight|bias)'))


def _fill(name: str, match: re.Match) -> str:
    fields = match.groupdict()
    return name.replace('{n}', fields.get('n', '')).replace('*', fields.get('leaf', ''))


def _find(
    patterns: list[tuple[re.Pattern, _Rule, int]], name: str, stem: str
) -> tuple[_Rule, int, re.Match] | None:
    """The rule for a name, which without its prefix is ``stem``, and which part of it it is."""
    for pattern, rule, part in patterns:
        match = pattern.fullmatch(stem if rule.of_backbone else name)
        if match:
            return rule, part, match
    return None


def is_whole(names: Iterable[str], layout: str) -> bool:
    """Whether these are a whole model's names: one with a head, or a prefix on its backbone."""
    heads = [_pattern(name) for rule in _rules(layout) if not rule.of_backbone
             for name in rule.theirs]  # fmt: skip
    prefix = _prefix(names, layout)
    return any(
        (prefix and name.startswith(prefix)) or any(head.fullmatch(name) for head in heads)
        for name in names
    )


def _prefix(names: Iterable[str], layout: str) -> str:
    """What stands before the names of the backbone, if anything does."""
    # The authors' segmentation models are OpenMMLab's around their own backbone.
    if layout in ('unilm', 'timm') and any(name.startswith(PREFIX) for name in names):
        return PREFIX
    return PREFIXES[layout]


def of_the_function(names: Iterable[str]) -> list[str]:
    """Those of names, in any layout, without which a backbone would be another function.

    Blocks and positions are; mask tokens, last norms and heads are not.
    """
    prefixes = '|'.join(sorted({re.escape(p) for p in PREFIXES.values() if p}))
    parts = r'blocks\.|layers\.|encoder\.|rel_pos_bias|shared_position_bias|pos_embed'
    pattern = re.compile(rf'({prefixes})?({parts}|embeddings\.position)')
    return [name for name in names if pattern.match(name)]


def _read(state_dict: Mapping[str, Tensor], layout: str) -> Converted:
    """Weights under this project's names."""
    prefix = _prefix(state_dict, layout)
    own_prefix = PREFIX * is_whole(state_dict, layout)
    patterns = [
        (_pattern(theirs), rule, part)
        for rule in _rules(layout)
        for part, theirs in enumerate(rule.theirs)
    ]
    # Our name -> part -> their name; our name -> number of parts.
    sources, parts = {}, {}
    grids, left_out = {}, []
    for name, tensor in state_dict.items():
        stem = name.removeprefix(prefix)
        if stem.endswith(INDEX):
            grids[name] = grid_of_index(tensor)
            continue
        part = 0
        if layout == 'beit_mm' and stem == 'patch_grid':
            own = f'{own_prefix}patch_grid'
        elif prefix == PREFIX and name.startswith(SHARED_PARTS):
            own = name
        elif found := _find(patterns, name, stem):
            rule, part, match = found
            own = f'{own_prefix * rule.of_backbone}{_fill(rule.ours, match)}'
            parts[own] = len(rule.theirs)
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
    for name, grid in grids.items():
        if grid is None:
            raise CheckpointError(f'{name} is not the index that BEiT has')
    if len(set(grids.values())) > 1:
        raise CheckpointError(f'{" and ".join(grids)} are for different patch grids')
    for grid in set(grids.values()):
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
    own_prefix, prefix = PREFIX * whole, PREFIXES[layout] * whole
    if layout == 'mmseg':
        ours = share_table(ours, own_prefix)
    # Hugging Face's pre-training model keeps the last norm beside the head.
    norm_at_head = layout.startswith('huggingface') and 'head.classifier.weight' in ours
    patterns = [(_pattern(rule.ours), rule, 0) for rule in _rules(layout)]

    written, left_out = {}, []
    for name, tensor in ours.items():
        stem = name.removeprefix(own_prefix)
        if stem == 'patch_grid':
            continue
        if layout in OPENMMLAB and name.startswith(SHARED_PARTS):
            written[name] = tensor
            continue
        found = _find(patterns, name, stem)
        if found is None:
            left_out.append(name)
            continue
        rule, _, match = found
        prefixed = rule.of_backbone and not (norm_at_head and stem.startswith('norm.'))
        names = [f'{prefix * prefixed}{_fill(theirs, match)}' for theirs in rule.theirs]
        written.update(zip(names, _cut(name, tensor, len(names)), strict=True))
        if stem.endswith('rel_pos_bias.table') and layout in WITH_INDEX:
            index = _index_of(name, tensor, read_patch_grid(ours, own_prefix))
            written[f'{names[0].removesuffix(TABLE)}{INDEX}'] = index
    return Converted(written, left_out)


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
