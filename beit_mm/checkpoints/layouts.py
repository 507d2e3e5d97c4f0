"""The names that others give to the same weights: one table, read in both directions."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from torch import Tensor

from .checkpoint_error import CheckpointError
from .layout_tables import (
    BACKBONE,
    DECODER,
    HEADS,
    INDEX,
    ROOT_ALONE,
    ROOT_OF_STAGES,
    STEM,
    TABLE,
)

# Those of JAX, whose files are .npz: of the ViT paper's release, and of what follows it.
OF_JAX = ('jax', 'big_vision')
# Which have a Vision Transformer and no BEiT.
OF_VIT_ALONE = ('torchvision', *OF_JAX)
LAYOUTS = (
    'beit_mm', 'unilm', 'timm', 'huggingface', 'huggingface5', 'mmpretrain', 'mmseg', *OF_VIT_ALONE,
)  # fmt: skip
# Which column of the tables below a layout reads. 'huggingface' are the names in files on the hub,
# which transformers reads in every version; 'huggingface5' those of transformers 5 in memory.
COLUMNS = dict(
    beit_mm=0, unilm=1, timm=1, huggingface=2, huggingface5=3, mmpretrain=4, mmseg=4,
    torchvision=5,
)  # fmt: skip
# What a whole model puts before the names of its backbone.
PREFIXES = dict(
    beit_mm='backbone.', unilm='', timm='', huggingface='beit.', huggingface5='beit.',
    mmpretrain='backbone.', mmseg='backbone.', torchvision='', jax='', big_vision='',
)  # fmt: skip
PREFIX = PREFIXES['beit_mm']
# Hugging Face's, of a Vision Transformer, and of a DeiT with distillation.
PREFIX_OF_VIT, PREFIX_OF_DEIT = 'vit.', 'deit.'
# What MMSegmentation, whose names are MMPretrain's otherwise, has no place for, in our names.
NOT_IN_MMSEG = ('mask_token', 'pos_embed', 'fc_norm.*', 'head.fc.*', 'head.classifier.*')
# Beside each table these keep the index that spells it out.
WITH_INDEX = ('unilm', 'mmpretrain', 'mmseg')
# Which have a place for the stem of a hybrid.
OF_HYBRIDS = ('beit_mm', 'unilm', 'timm')
# Names that the OpenMMLab layouts have in common.
SHARED_PARTS = ('neck.', 'decode_head.', 'auxiliary_head.')
OPENMMLAB = ('beit_mm', 'mmpretrain', 'mmseg')
# What gives a layout away, tried in this order: a name in it, which a prefix may stand before.
SIGNS = (
    ('torchvision', (), r'encoder\.layers\.encoder_layer_\d+\.ln_1\.weight'),
    (
        'huggingface',
        ('beit.', 'vit.', 'deit.'),
        r'encoder\.layer\.\d+\.attention\.attention\.query\.weight',
    ),
    ('huggingface5', ('beit.', 'vit.', 'deit.'), r'layers\.\d+\.attention\.q_proj\.weight'),
    ('mmpretrain', ('backbone.',), r'layers\.\d+\.ffn\.layers\.0\.0\.weight'),
    ('unilm', ('backbone.',), r'blocks\.\d+\.attn\.qkv\.weight'),
)
# What MMPretrain's models have and MMSegmentation's have not; both name blocks alike.
OF_MMPRETRAIN = r'(backbone\.)?(ln2\..*|mask_token|pos_embed|rel_pos_bias\..*)|head\..*'
# What gives a BEiT away; a Vision Transformer has a bias on the keys.
OF_BEIT = r'.*\.(gamma_1|lambda_1|q_bias|rel_pos_bias\.table|relative_position_bias_table)'
QUERY_BIAS = r'.*\.(query|q_proj)\.bias'
KEY_BIAS = r'.*([./](qkv|key|k_proj)[./]|\.self_attention\.in_proj_)bias'
# Names of a block in JAX, as they are for all blocks one by one or, in arrays with an axis more,
# for all at once.
OF_JAX_BLOCK = r'(.*/)?Transformer/encoderblock(_\d+)?/'
OF_THE_RELEASE = rf'{OF_JAX_BLOCK}MultiHeadDotProductAttention_1/key/bias'
OF_BIG_VISION = rf'{OF_JAX_BLOCK}MultiHeadDotProductAttention_0/key/bias'
OF_DECODER = r'(decoder|neck\.decoder|decoder\.decoder)(\.|_)embed\.weight'
# Kinds of models: a BEiT, a Vision Transformer, and one with MAE's decoder.
BEIT = 'beit'
VIT = 'vit'
MAE = 'mae'
# What a kind has not, in our names. The mask token of MAE is the decoder's.
NOT_IN = {
    BEIT: ('blocks.{n}.attn.qkv.bias',),
    VIT: ('blocks.{n}.attn.q_bias', 'blocks.{n}.attn.v_bias'),
    MAE: ('blocks.{n}.attn.q_bias', 'blocks.{n}.attn.v_bias', 'mask_token'),
}
# What others' Vision Transformers have not, or under names of their own; and what of these
# transformers' has not, whose classifier reads [S].
NOT_IN_VIT = (
    'rel_pos_bias.table', 'blocks.{n}.attn.rel_pos_bias.table', 'blocks.{n}.gamma_1',
    'blocks.{n}.gamma_2',
)  # fmt: skip
NOT_IN_VIT_OF_TRANSFORMERS = ('fc_norm.*',)
# Names in files, and what files of other versions of the same library call them: blocks of MAE's
# decoder in transformers 5 and before, the MLP of a block in torchvision.
OLD_NAMES = (
    ('decoder.decoder_encoder.layer.', 'decoder.decoder_layers.'),
    ('.mlp.linear_1.', '.mlp.0.'),
    ('.mlp.linear_2.', '.mlp.3.'),
    # In transformers' DeiT with distillation.
    ('cls_classifier.', 'classifier.'),
)


def find_layout(names: Iterable[str]) -> str | None:
    """One of ``LAYOUTS``, or None if these are no names of a Vision Transformer's weights."""
    names = list(names)
    if not all(isinstance(name, str) for name in names):
        return None

    def has(pattern: str) -> bool:
        return any(re.fullmatch(pattern, name) for name in names)

    def has_after(prefixes: tuple[str, ...], pattern: str) -> bool:
        return has(f'({"|".join(map(re.escape, prefixes))})?{pattern}')

    for jax, sign in zip(OF_JAX, (OF_THE_RELEASE, OF_BIG_VISION), strict=True):
        if has(sign):
            return jax
    layout = next((name for name, prefixes, sign in SIGNS if has_after(prefixes, sign)), None)
    if not has(OF_BEIT) and not has(KEY_BIAS) and not has(QUERY_BIAS):
        return None
    if layout == 'mmpretrain':
        return 'mmpretrain' if has(OF_MMPRETRAIN) else 'mmseg'
    if layout != 'unilm':
        return layout
    # unilm, timm and this project name the blocks alike and differ in what is around them.
    if has(f'.*{TABLE}'):
        return 'unilm' if has(f'.*{INDEX}') else 'timm'
    if has(r'(backbone\.)?patch_embed\.backbone\..*'):
        return 'timm'
    if has(r'backbone\..*|.*rel_pos_bias\.table|patch_grid'):
        return 'beit_mm'
    # MAE's authors have timm's names.
    return 'timm' if has(r'(head|lm_head|decoder_embed)\..*|dist_token') else 'beit_mm'


def kind_of(names: Iterable[str]) -> str:
    """Of what kind of model weights are: 'beit', 'vit' or 'mae'."""
    names = list(names)
    if any(re.fullmatch(OF_DECODER, name) for name in names):
        return MAE
    return VIT if any(re.fullmatch(KEY_BIAS, name) for name in names) else BEIT


def detect_layout(state_dict: Mapping[str, Tensor]) -> str:
    """Whose names the weights of a Vision Transformer bear: of ViT's, MAE's or BEiT's.

    Args:
        state_dict: Name -> tensor, of a bare backbone or of a whole model.

    Returns:
        'beit_mm', 'unilm', 'timm', 'huggingface', 'mmpretrain', 'mmseg', 'torchvision', 'jax' or
        'big_vision'. Backbones of MMPretrain and MMSegmentation have the same names; one that
        neither has what only MMPretrain knows nor a head is said to be of 'mmseg'.

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
            f'these are not the weights of a Vision Transformer in a known layout '
            f'({", ".join(LAYOUTS)}); they begin with {", ".join(map(str, list(state_dict)[:3]))}'
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


def rules_of(layout: str, kind: str) -> list[Rule]:
    """The rows of the tables, read for one of ``LAYOUTS`` and a :func:`kind_of` model."""
    rules = []
    left_out = NOT_IN[kind] + (NOT_IN_MMSEG if layout == 'mmseg' else ())
    if kind != BEIT and layout != 'beit_mm':
        left_out += NOT_IN_VIT
        left_out += NOT_IN_VIT_OF_TRANSFORMERS * layout.startswith('huggingface')
    if layout in OF_JAX:
        # Whose arrays have other shapes, see ``jax_names``.
        return []
    whole = (HEADS, DECODER) if kind == MAE and layout not in OF_VIT_ALONE else (HEADS,)
    for table in (BACKBONE, *whole):
        for row in table:
            theirs = row[COLUMNS[layout]]
            if theirs is not None and row[0] not in left_out:
                theirs = theirs if isinstance(theirs, tuple) else (theirs,)
                rules.append(Rule(row[0], theirs, of_backbone=table is BACKBONE))
    if layout in OF_HYBRIDS:
        rules += [Rule(row[0], (row[COLUMNS[layout]],), of_backbone=True) for row in STEM]
    return rules


def pattern_of(name: str) -> re.Pattern:
    """What matches the names that a name in the tables stands for."""
    pattern = re.sub(r'\\{(\w)\\}', r'(?P<\1>\\d+)', re.escape(name))
    return re.compile(pattern.replace(r'\*', '(?P<leaf>weight|bias)'))


def fill(name: str, match: re.Match) -> str:
    """A name in the tables with the block's number and the leaf of a match of another.

    >>> fill('layers.{n}.ln1.*', pattern_of('blocks.{n}.norm1.*').fullmatch('blocks.3.norm1.bias'))
    'layers.3.ln1.bias'
    """
    fields = match.groupdict()
    for letter in 'nmk':
        name = name.replace(f'{{{letter}}}', fields.get(letter, ''))
    return name.replace('*', fields.get('leaf', ''))


def with_stages(name: str) -> str:
    """A name of timm's, that of the root of a hybrid as it is where stages follow it."""
    for alone, of_stages in zip(ROOT_ALONE, ROOT_OF_STAGES, strict=True):
        if name.startswith(alone):
            return f'{of_stages}{name.removeprefix(alone)}'
    return name


def root_alone(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The opposite of :func:`with_stages`, of weights without stages."""
    if any('patch_embed.backbone.stages.' in name for name in weights):
        return weights
    renamed = {}
    for name, tensor in weights.items():
        for alone, of_stages in zip(ROOT_ALONE, ROOT_OF_STAGES, strict=True):
            name = name.replace(of_stages, alone)
        renamed[name] = tensor
    return renamed


def is_whole(names: Iterable[str], layout: str) -> bool:
    """Whether these are a whole model's names: one with a head, or a prefix on its backbone."""
    names = list(names)
    heads = [pattern_of(name) for rule in rules_of(layout, kind_of(names)) if not rule.of_backbone
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
    if layout.startswith('huggingface') and any(n.startswith(PREFIX_OF_DEIT) for n in names):
        return PREFIX_OF_DEIT
    return prefix_for(layout, kind_of(names))


def prefix_for(layout: str, kind: str) -> str:
    """What a layout puts before the names of the backbone of a kind of model."""
    if layout.startswith('huggingface') and kind != BEIT:
        return PREFIX_OF_VIT
    return PREFIXES[layout]


def of_the_function(names: Iterable[str]) -> list[str]:
    """Those of names, in any layout, without which a backbone would be another function.

    Blocks, positions and what stands between both are; mask tokens, last norms and heads are not.
    """
    known = {*PREFIXES.values(), PREFIX_OF_VIT, PREFIX_OF_DEIT}
    prefixes = '|'.join(sorted(re.escape(prefix) for prefix in known if prefix))
    parts = r'blocks\.|layers\.|encoder\.|rel_pos_bias|shared_position_bias|pos_embed'
    parts += r'|patch_embed\.(stem|backbone)\.|axial$|Transformer/'
    # More tokens, a norm before the blocks and rotations: of timm's and MMPretrain's other models.
    parts += r'|reg_token|norm_pre\.|pre_norm\.|rope\.'
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
