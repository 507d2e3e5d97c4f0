"""The names that others give to BEiT's weights: one table, read in both directions."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor

from .checkpoint_error import CheckpointError

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
# What gives a layout away, tried in this order: a name in it, without the prefix of whole models.
SIGNS = (
    ('huggingface', 'beit.', r'encoder\.layer\.\d+\.attention\.attention\.query\.weight'),
    ('huggingface5', 'beit.', r'layers\.\d+\.attention\.q_proj\.weight'),
    ('mmpretrain', 'backbone.', r'layers\.\d+\.ffn\.layers\.0\.0\.weight'),
    ('unilm', 'backbone.', r'blocks\.\d+\.attn\.qkv\.weight'),
)
# What MMPretrain's models have and MMSegmentation's have not; both name blocks alike.
OF_MMPRETRAIN = r'(backbone\.)?(ln2\..*|mask_token|pos_embed|rel_pos_bias\..*)|head\..*'
# A plain ViT has neither LayerScale nor tables, and a bias on the keys.
OF_BEIT = r'.*\.(gamma_1|lambda_1|q_bias|rel_pos_bias\.table|relative_position_bias_table)'
QUERY_BIAS, KEY_BIAS = r'.*\.(query|q_proj)\.bias', r'.*\.(key|k_proj)\.bias'


def find_layout(names: Iterable[str]) -> str | None:
    """One of ``LAYOUTS``, or None if these are not the names of a BEiT's weights."""
    names = list(names)
    if not all(isinstance(name, str) for name in names):
        return None

    def has(pattern: str) -> bool:
        return any(re.fullmatch(pattern, name) for name in names)

    signs = ((layout, f'({re.escape(prefix)})?{name}') for layout, prefix, name in SIGNS)
    layout = next((layout for layout, pattern in signs if has(pattern)), None)
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
    return known_layout(state_dict).removesuffix('5')


def known_layout(state_dict: Mapping[str, Tensor]) -> str:
    """:func:`find_layout`, for weights that must be of one.

    Raises:
        CheckpointError: If they are of none.
    """
    layout = find_layout(state_dict)
    if layout is None:
        raise CheckpointError(
            f'these are not the weights of a BEiT in a known layout ({", ".join(LAYOUTS)}); they '
            f'begin with {", ".join(map(str, list(state_dict)[:3]))}'
        )
    return layout


class Rule(NamedTuple):
    """A row of the tables, for one layout.

    Attributes:
        ours: The name here.
        theirs: The name there, or the names of the parts that one matrix is cut into.
        of_backbone: Whether a whole model puts its prefix before it.
    """

    ours: str
    theirs: tuple[str, ...]
    of_backbone: bool


def rules_of(layout: str) -> list[Rule]:
    """The rows of the tables, read for one of ``LAYOUTS``."""
    rules = []
    for table, of_backbone in ((BACKBONE, True), (HEADS, False)):
        for row in table:
            theirs = row[COLUMNS[layout]]
            if not (layout == 'mmseg' and row[0] in NOT_IN_MMSEG):
                theirs = theirs if isinstance(theirs, tuple) else (theirs,)
                rules.append(Rule(row[0], theirs, of_backbone))
    return rules


def pattern_of(name: str) -> re.Pattern:
    """What matches the names that a name in the tables stands for."""
    pattern = re.escape(name).replace(r'\{n\}', r'(?P<n>\d+)')
    return re.compile(pattern.replace(r'\*', '(?P<leaf>weight|bias)'))


def fill(name: str, match: re.Match) -> str:
    """A name in the tables with the block's number and the leaf of a match of another.

    >>> fill('layers.{n}.ln1.*', pattern_of('blocks.{n}.norm1.*').fullmatch('blocks.3.norm1.bias'))
    'layers.3.ln1.bias'
    """
    fields = match.groupdict()
    return name.replace('{n}', fields.get('n', '')).replace('*', fields.get('leaf', ''))


def is_whole(names: Iterable[str], layout: str) -> bool:
    """Whether these are a whole model's names: one with a head, or a prefix on its backbone."""
    heads = [pattern_of(name) for rule in rules_of(layout) if not rule.of_backbone
             for name in rule.theirs]  # fmt: skip
    prefix = prefix_of(names, layout)
    return any(
        (prefix and name.startswith(prefix)) or any(head.fullmatch(name) for head in heads)
        for name in names
    )


def prefix_of(names: Iterable[str], layout: str) -> str:
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


def summarize(names: Iterable[str]) -> str:
    """Names for a log line: blocks as one, as are other large parts.

    >>> summarize(['blocks.0.gamma_1', 'blocks.1.gamma_1', 'norm.bias'])
    'blocks.*.gamma_1 (2), norm.bias'
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r'\.\d+\.', '.*.', name), []).append(name)
    parts = Counter(group.partition('.')[0] for group in groups)
    merged: dict[str, list[str]] = {}
    for group, members in groups.items():
        part = group.partition('.')[0]
        large = parts[part] > 8 and part not in ('backbone', 'blocks')
        merged.setdefault(f'{part}.*' if large else group, []).extend(members)
    texts = [f'{g} ({len(m)})' if len(m) > 1 else m[0] for g, m in merged.items()]
    return ', '.join(texts) or 'none'
