"""Names of BEiT's weights: recognised, and translated between every two layouts.

The names that are expected here are spelled out a second time, block by block, from the state
dicts that the libraries themselves have; test_peers.py holds both against those libraries.
"""

import logging
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.logging import MMLogger
from mmpretrain.models import ResNet
from mmpretrain.models.backbones.beit import RelativePositionBias as SharedBiasOfMMPretrain
from mmpretrain.models.selfsup.cae import DALLEEncoder
from mmpretrain.models.utils import BEiTAttention as AttentionOfMMPretrain
from mmseg.models.backbones.beit import BEiTAttention as AttentionOfMMSeg
from safetensors.torch import load_file, save_file

from beit_mm.checkpoints import LAYOUTS as EVERY_LAYOUT
from beit_mm.checkpoints import (
    OF_VIT_ALONE,
    CheckpointError,
    convert_state_dict,
    detect_layout,
    find_layout,
    summarize,
)
from beit_mm.models import BEiT, DiscreteVAE

# Of a BEiT.
LAYOUTS = [each for each in EVERY_LAYOUT if each not in OF_VIT_ALONE]
WIDTH, HEADS = 2, 1
WITH_INDEX = ('unilm', 'mmpretrain', 'mmseg')
OPENMMLAB = ('beit_mm', 'mmpretrain', 'mmseg')
TABLE, INDEX = 'relative_position_bias_table', 'relative_position_index'


def index_of(grid):
    """MMPretrain's own index."""
    return SharedBiasOfMMPretrain(window_size=grid, num_heads=1).relative_position_index


def affine(name, weight, bias):
    return {f'{name}.weight': weight, f'{name}.bias': bias}


def block(layout, n, t, table, layer_scale):
    """Block ``n`` from its tensors ``t``."""
    norm1, norm2 = t('norm1', WIDTH), t('norm2', WIDTH)
    bias1, bias2 = t('bias1', WIDTH), t('bias2', WIDTH)
    q, k, v = (t(part, WIDTH, WIDTH) for part in 'qkv')
    q_bias, v_bias = t('q_bias', WIDTH), t('v_bias', WIDTH)
    proj = t('proj', WIDTH, WIDTH), t('proj_bias', WIDTH)
    fc1 = t('fc1', 3 * WIDTH, WIDTH), t('fc1_bias', 3 * WIDTH)
    fc2 = t('fc2', WIDTH, 3 * WIDTH), t('fc2_bias', WIDTH)
    gammas = t('gamma_1', WIDTH), t('gamma_2', WIDTH)
    qkv = {'attn.qkv.weight': torch.cat([q, k, v])}
    qkv.update({'attn.q_bias': q_bias, 'attn.v_bias': v_bias})
    scales = dict(zip(('gamma_1', 'gamma_2'), gammas, strict=True))
    index_name = None
    if layout == 'beit_mm':
        place, table_name = f'blocks.{n}.', 'attn.rel_pos_bias.table'
        names = {**affine('norm1', norm1, bias1), **qkv, **affine('attn.proj', *proj)}
        names |= {**affine('norm2', norm2, bias2), **affine('mlp.fc1', *fc1)}
        names |= affine('mlp.fc2', *fc2)
    elif layout in ('unilm', 'timm'):
        place, table_name = f'blocks.{n}.', f'attn.{TABLE}'
        names = {**affine('norm1', norm1, bias1), **qkv, **affine('attn.proj', *proj)}
        names |= {**affine('norm2', norm2, bias2), **affine('mlp.fc1', *fc1)}
        names |= affine('mlp.fc2', *fc2)
        index_name = f'attn.{INDEX}'
    elif layout in ('mmpretrain', 'mmseg'):
        place, table_name = f'layers.{n}.', f'attn.{TABLE}'
        names = {**affine('ln1', norm1, bias1), **qkv, **affine('attn.proj', *proj)}
        names |= {**affine('ln2', norm2, bias2), **affine('ffn.layers.0.0', *fc1)}
        names |= affine('ffn.layers.1', *fc2)
        index_name = f'attn.{INDEX}'
    elif layout == 'huggingface':
        place = f'encoder.layer.{n}.'
        table_name = f'attention.attention.relative_position_bias.{TABLE}'
        names = affine('attention.attention.query', q, q_bias)
        names |= {'attention.attention.key.weight': k}
        names |= affine('attention.attention.value', v, v_bias)
        names |= affine('attention.output.dense', *proj)
        names |= affine('intermediate.dense', *fc1) | affine('output.dense', *fc2)
        names |= affine('layernorm_before', norm1, bias1)
        names |= affine('layernorm_after', norm2, bias2)
    else:
        place, table_name = f'layers.{n}.', f'relative_position_bias.{TABLE}'
        names = affine('attention.q_proj', q, q_bias) | {'attention.k_proj.weight': k}
        names |= affine('attention.v_proj', v, v_bias) | affine('attention.o_proj', *proj)
        names |= affine('mlp.fc1', *fc1) | affine('mlp.fc2', *fc2)
        names |= affine('layernorm_before', norm1, bias1)
        names |= affine('layernorm_after', norm2, bias2)
    if layer_scale:
        if layout.startswith('huggingface'):
            scales = dict(zip(('lambda_1', 'lambda_2'), gammas, strict=True))
        names |= scales
    if table is not None:
        names[table_name] = table
        if layout in WITH_INDEX:
            names[index_name] = None
    return {f'{place}{name}': tensor for name, tensor in names.items()}


def weights(
    layout,
    depth=2,
    grid=(2, 2),
    tables='own',
    absolute=False,
    norm=False,
    fc_norm=False,
    mask_token=False,
    head=None,
    layer_scale=True,
    prefix=None,
):
    """One and the same model under the names of a layout.

    ``head`` is None for a bare backbone, 'classes' or 'tokens'. ``prefix`` says whether the
    backbone's names have one without a head too, as in a segmentor.
    """
    generator = torch.Generator().manual_seed(0)

    def t(*shape):
        return torch.randn(*shape, generator=generator)

    whole = bool(head or prefix)
    hugging = layout.startswith('huggingface')
    mm = layout in ('mmpretrain', 'mmseg')
    before = ''
    if whole:
        before = 'backbone.' if layout in OPENMMLAB else 'beit.' if hugging else ''
    rows = (2 * grid[0] - 1) * (2 * grid[1] - 1) + 3
    names = {}
    for n in range(depth):
        table = t(rows, HEADS) if tables == 'own' else None
        names |= block(layout, n, lambda _, *shape: t(*shape), table, layer_scale)
    of_embeddings = 'embeddings.' if hugging else ''
    patch = 'patch_embeddings.projection' if hugging else 'patch_embed.proj'
    patch = 'patch_embed.projection' if mm else patch
    names[f'{of_embeddings}cls_token'] = t(1, 1, WIDTH)
    names |= affine(f'{of_embeddings}{patch}', t(WIDTH, 3, 2, 2), t(WIDTH))
    if mask_token:
        names[f'{of_embeddings}mask_token'] = t(1, 1, WIDTH)
    if absolute:
        positions = 'position_embeddings' if hugging else 'pos_embed'
        names[f'{of_embeddings}{positions}'] = t(1, 1 + grid[0] * grid[1], WIDTH)
    if tables == 'shared':
        name = dict(
            beit_mm='rel_pos_bias.table',
            huggingface=f'encoder.relative_position_bias.{TABLE}',
            huggingface5=f'shared_position_bias.{TABLE}',
        ).get(layout, f'rel_pos_bias.{TABLE}')
        names[name] = t(rows, HEADS)
        if layout in WITH_INDEX:
            names[f'rel_pos_bias.{INDEX}'] = None
    if layout == 'beit_mm' and tables:
        names['patch_grid'] = torch.tensor(grid)
    outside = {}
    if norm:
        pair = t(WIDTH), t(WIDTH)
        if hugging and head == 'tokens':
            outside |= affine('layernorm', *pair)
        else:
            names |= affine('ln1' if mm else 'layernorm' if hugging else 'norm', *pair)
    if fc_norm:
        pair = t(WIDTH), t(WIDTH)
        names |= affine('ln2' if mm else 'pooler.layernorm' if hugging else 'fc_norm', *pair)
    if head:
        pair = t(5, WIDTH), t(5)
        ours, mmpretrains, others, huggings = dict(
            classes=('head.fc', 'head.fc', 'head', 'classifier'),
            tokens=('head.classifier', 'head.cls_head', 'lm_head', 'lm_head'),
        )[head]
        name = ours if layout == 'beit_mm' else huggings if hugging else others
        outside |= affine(mmpretrains if mm else name, *pair)
    for name in names:
        if name.endswith(INDEX):
            names[name] = index_of(grid)
    return {f'{before}{name}': tensor for name, tensor in names.items()} | outside


MODELS = {
    'fine-tuned': dict(fc_norm=True, head='classes'),
    'fine-tuned, [S]': dict(norm=True, head='classes', absolute=True),
    'fine-tuned, shared table': dict(tables='shared', fc_norm=True, head='classes'),
    'pre-trained': dict(tables='shared', norm=True, mask_token=True, head='tokens'),
    'pre-trained, own tables': dict(norm=True, mask_token=True, head='tokens', absolute=True),
    'backbone': dict(norm=True),
    'backbone, shared table': dict(tables='shared', fc_norm=True, mask_token=True),
    'backbone, absolute': dict(tables=None, absolute=True, norm=True, fc_norm=True),
    'deep': dict(depth=12, norm=True),
}
# MMSegmentation's BEiT is a bare backbone with a table a block.
OF_MMSEG = ('backbone', 'deep')


def layouts_of(model):
    return [each for each in LAYOUTS if each != 'mmseg' or model in OF_MMSEG]


PAIRS = [
    (model, source, target)
    for model in MODELS
    for source, target in permutations(layouts_of(model), 2)
]


def assert_same(converted, expected):
    assert converted.keys() == expected.keys()
    for name, tensor in expected.items():
        assert converted[name].dtype == tensor.dtype, name
        assert torch.equal(converted[name], tensor), name


KEEP_THE_GRID = ('beit_mm', *WITH_INDEX)


def as_known_to(layout, expected):
    """Without ``patch_grid`` if the weights come from a layout that does not keep it."""
    lost = () if layout in KEEP_THE_GRID else ('patch_grid', 'backbone.patch_grid')
    return {name: tensor for name, tensor in expected.items() if name not in lost}


@pytest.fixture
def log():
    """Messages of the current logger of mmengine, which hands none on to Python's root logger."""
    messages = []

    class Keeper(logging.Handler):
        def emit(self, record):
            messages.append(record.getMessage())

    handler = Keeper()
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


# Recognising


def test_there_are_seven_layouts():
    assert set(LAYOUTS) == {
        'beit_mm',
        'unilm',
        'timm',
        'huggingface',
        'huggingface5',
        'mmpretrain',
        'mmseg',
    }


@pytest.mark.parametrize(
    ('model', 'layout'), [(model, each) for model in MODELS for each in layouts_of(model)]
)
def test_every_layout_is_recognised(model, layout):
    found = detect_layout(weights(layout, **MODELS[model]))
    expected = layout.removesuffix('5')
    if layout == 'mmpretrain' and model in (*OF_MMSEG, 'backbone, shared table'):
        # The two name a backbone alike, unless it has what MMSegmentation's never has.
        expected = 'mmpretrain' if model == 'backbone, shared table' else 'mmseg'
    if layout in ('unilm', 'timm') and model == 'backbone, absolute':
        # Nothing in the names tells these three apart, and nothing needs to.
        expected = 'beit_mm'
    assert found == expected


@pytest.mark.parametrize('layout', OPENMMLAB)
def test_a_segmentors_layout_is_recognised(layout):
    segmentor = weights(layout, prefix=True) | {'decode_head.conv_seg.weight': torch.ones(1)}
    assert detect_layout(segmentor) == dict(mmpretrain='mmseg').get(layout, layout)


def test_the_two_sets_of_names_of_transformers_are_told_apart_inside():
    assert find_layout(weights('huggingface')) == 'huggingface'
    assert find_layout(weights('huggingface5')) == 'huggingface5'


@pytest.mark.parametrize(
    ('settings', 'prefix'),
    [
        (dict(), ''),
        (dict(), 'backbone.'),
        (dict(use_rel_pos_bias=False, use_abs_pos_emb=True), ''),
        (dict(use_rel_pos_bias=False, use_shared_rel_pos_bias=True), 'backbone.'),
        (dict(out_type='raw', layer_scale_init_value=0, use_rel_pos_bias=False), ''),
    ],
)
def test_this_projects_models_are_recognised(settings, prefix):
    arch = dict(embed_dims=4, num_layers=1, num_heads=1, feedforward_channels=4)
    model = BEiT(arch, img_size=4, patch_size=2, **settings)
    names = {f'{prefix}{name}': tensor for name, tensor in model.state_dict().items()}
    assert detect_layout(names) == 'beit_mm'


STRANGERS = {
    'ResNet': lambda: ResNet(18),
    "OpenAI's tokenizer": lambda: DALLEEncoder(n_hid=8, vocab_size=8),
    "this project's tokenizer": lambda: DiscreteVAE(vocab_size=8, hidden=8, decoder_input=8),
}


@pytest.mark.parametrize('stranger', STRANGERS)
def test_what_is_no_beit_is_refused(stranger):
    names = STRANGERS[stranger]().state_dict()
    assert find_layout(names) is None
    with pytest.raises(CheckpointError, match='not the weights of a Vision Transformer') as error:
        detect_layout(names)
    assert next(iter(names)) in str(error.value)
    for to in LAYOUTS:
        with pytest.raises(CheckpointError, match='not the weights of a Vision Transformer'):
            convert_state_dict(names, to=to)


def test_nothing_is_no_beit():
    with pytest.raises(CheckpointError, match='not the weights of a Vision Transformer'):
        detect_layout({})
    with pytest.raises(CheckpointError, match='not the weights of a Vision Transformer'):
        convert_state_dict({}, to='timm')


# Converting


@pytest.mark.parametrize(('model', 'source', 'target'), PAIRS)
def test_between_every_two_layouts(model, source, target):
    given_, expected = weights(source, **MODELS[model]), weights(target, **MODELS[model])
    before = {name: tensor.clone() for name, tensor in given_.items()}
    converted = convert_state_dict(given_, to=target)
    assert_same(converted, as_known_to(source, expected))
    assert_same(convert_state_dict(converted, to=source), as_known_to(target, before))
    # The source keeps its names, their order and its tensors.
    assert list(given_) == list(before)
    assert_same(given_, before)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_to_the_layout_it_has_changes_nothing(layout):
    same = weights(layout, norm=True)
    converted = convert_state_dict(same, to=layout)
    assert_same(converted, same)
    assert converted is not same


@pytest.mark.parametrize('source', [each for each in LAYOUTS if each != 'mmseg'])
def test_to_mmsegmentation_the_head_stays_behind(source, log):
    settings = dict(norm=True, head='classes')
    converted = convert_state_dict(weights(source, **settings), to='mmseg')
    expected = weights('mmseg', **settings)
    assert_same(converted, {n: t for n, t in expected.items() if not n.startswith('head.')})
    assert any('head.fc.weight' in message for message in log)


@pytest.mark.parametrize(
    'settings', [dict(fc_norm=True), dict(mask_token=True), dict(tables='shared')]
)
def test_mmsegmentation_is_given_only_what_its_backbone_has(settings):
    converted = convert_state_dict(weights('beit_mm', **settings), to='mmseg')
    strange = ('ln2.', 'mask_token', 'rel_pos_bias.')
    assert not [name for name in converted if name.startswith(strange)]


@pytest.mark.parametrize('layout', WITH_INDEX)
@pytest.mark.parametrize('grid', [(1, 1), (3, 3), (2, 5), (5, 2)])
def test_an_index_is_written_as_the_openmmlab_libraries_have_it(layout, grid):
    own = convert_state_dict(weights('beit_mm', depth=2, grid=grid), to=layout)
    of_block = f'{"blocks" if layout == "unilm" else "layers"}.1.attn.{INDEX}'
    for attention in (
        AttentionOfMMPretrain(4, 2, window_size=grid, use_rel_pos_bias=True),
        AttentionOfMMSeg(4, 2, window_size=grid),
    ):
        assert own[of_block].dtype == attention.relative_position_index.dtype
        assert torch.equal(own[of_block], attention.relative_position_index)
    shared = convert_state_dict(weights('beit_mm', grid=grid, tables='shared'), to=layout)
    of_all = f'rel_pos_bias.{INDEX}' if layout != 'mmseg' else f'layers.1.attn.{INDEX}'
    assert torch.equal(shared[of_all], index_of(grid))


def test_for_mmsegmentation_a_shared_table_is_copied_to_every_block():
    ours = weights('beit_mm', depth=3, tables='shared')
    converted = convert_state_dict(ours, to='mmseg')
    for n in range(3):
        assert converted[f'layers.{n}.attn.{TABLE}'].equal(ours['rel_pos_bias.table'])
    assert len({converted[f'layers.{n}.attn.{TABLE}'].data_ptr() for n in range(3)}) == 3


@pytest.mark.parametrize(
    ('layout', 'tables'),
    [(layout, 'own') for layout in WITH_INDEX] + [('unilm', 'shared'), ('mmpretrain', 'shared')],
)
@pytest.mark.parametrize('grid', [(2, 3), (3, 2), (1, 5), (2, 14)])
def test_a_grid_that_is_not_square_survives(layout, tables, grid):
    """(1, 5) and (2, 14) have tables of as many rows as a square grid has."""
    source = weights(layout, grid=grid, tables=tables)
    ours = convert_state_dict(source, to='beit_mm')
    assert ours['patch_grid'].tolist() == list(grid)
    assert ours['patch_grid'].dtype == torch.int64
    assert_same(convert_state_dict(ours, to=layout), source)


@pytest.mark.parametrize('layout', WITH_INDEX)
@pytest.mark.parametrize('source', ['timm', 'huggingface', 'huggingface5'])
def test_a_table_of_unknown_grid_cannot_be_spelled_out(source, layout):
    unknown = weights(source, grid=(2, 3))
    with pytest.raises(CheckpointError, match=r'18 rows.*not square.*patch_grid'):
        convert_state_dict(unknown, to=layout)
    ours = convert_state_dict(unknown, to='beit_mm')
    assert 'patch_grid' not in ours
    assert_same(convert_state_dict(ours, to=source), unknown)
    # Who knows it can say it.
    known = convert_state_dict({**ours, 'patch_grid': torch.tensor([2, 3])}, to=layout)
    assert_same(known, weights(layout, grid=(2, 3)))


@pytest.mark.parametrize(
    'change',
    [
        lambda index: index.T.contiguous(),
        lambda index: index.flip(0),
        lambda index: index[:, :-1],
        lambda index: index[:3, :3],
        lambda index: index.flatten(),
        lambda index: torch.zeros_like(index),
    ],
)
def test_an_index_that_is_not_beits_is_refused(change):
    source = weights('unilm', grid=(2, 3))
    name = f'blocks.1.attn.{INDEX}'
    source[name] = change(source[name])
    with pytest.raises(CheckpointError, match=rf'blocks\.1\.attn\.{INDEX} is not the index'):
        convert_state_dict(source, to='beit_mm')


def test_an_index_for_another_table_is_refused():
    source = weights('unilm', grid=(2, 2))
    for name in source:
        if name.endswith(INDEX):
            source[name] = index_of((3, 3))
    with pytest.raises(CheckpointError, match='but a table for 3 x 3 patches has 28 rows'):
        convert_state_dict(source, to='beit_mm')


def test_an_index_of_swins_kind_is_refused():
    """Without [S]: 9 patches, 25 offsets."""
    y, x = torch.meshgrid(torch.arange(3), torch.arange(3), indexing='ij')
    y, x = y.flatten(), x.flatten()
    index = (y[:, None] - y + 2) * 5 + (x[:, None] - x + 2)
    source = {**weights('unilm', grid=(3, 3)), f'blocks.0.attn.{INDEX}': index}
    with pytest.raises(CheckpointError, match='is not the index'):
        convert_state_dict(source, to='timm')


@pytest.mark.parametrize('layout', ['huggingface', 'huggingface5'])
def test_two_weights_for_one_place_are_refused(layout):
    source = weights(layout, norm=True, head='tokens', mask_token=True)
    source['beit.layernorm.weight'] = torch.ones(WIDTH)
    with pytest.raises(CheckpointError) as error:
        convert_state_dict(source, to='beit_mm')
    message = str(error.value)
    assert 'both stand for backbone.norm.weight' in message
    assert 'beit.layernorm.weight' in message
    assert message.replace('beit.layernorm', '').count('layernorm.weight') == 1


@pytest.mark.parametrize(
    ('layout', 'names'),
    [
        ('huggingface', 'encoder.layer.1.attention.attention.{}.weight'),
        ('huggingface5', 'layers.1.attention.{}_proj.weight'),
    ],
)
@pytest.mark.parametrize('part', ['query', 'key', 'value'])
def test_a_missing_part_of_queries_keys_and_values_is_an_error(layout, names, part):
    source = weights(layout)
    del source[names.format(part if layout == 'huggingface' else part[0])]
    with pytest.raises(
        CheckpointError, match=r'3 parts of blocks\.1\.attn\.qkv\.weight the weights have 2'
    ):
        convert_state_dict(source, to='beit_mm')


@pytest.mark.parametrize('source', [each for each in LAYOUTS if each != 'mmseg'])
def test_unknown_names_are_left_out_and_named(source, log):
    settings = dict(fc_norm=True, head='classes')
    target = 'timm' if source != 'timm' else 'huggingface'
    unknown = {
        'discriminator.weight': torch.ones(2),
        'neck_of_mine.bias': torch.ones(2),
        'head.fc.weight_orig': torch.ones(2),
    }
    converted = convert_state_dict({**weights(source, **settings), **unknown}, to=target)
    assert_same(converted, weights(target, **settings))
    (message,) = [message for message in log if target in message]
    for name in unknown:
        assert name in message


def test_nothing_is_logged_where_all_has_a_place(log):
    convert_state_dict(weights('unilm', fc_norm=True, head='classes'), to='mmpretrain')
    assert not log


@pytest.mark.parametrize('layout', ['timm', 'huggingface', 'mmpretrain'])
def test_weights_of_which_no_name_is_known_are_an_error(layout):
    source = {f'teacher.{name}': tensor for name, tensor in weights(layout).items()}
    with pytest.raises(CheckpointError, match=r'not the weights of .* known layout .* teacher'):
        convert_state_dict(source, to='beit_mm')


def test_names_left_out_of_every_block_are_one_in_the_log(log):
    source = weights('timm', depth=11)
    for n in range(11):
        source[f'probes.{n}.weight'] = torch.ones(WIDTH)
    convert_state_dict(source, to='huggingface')
    (message,) = log
    assert 'probes.*.weight (11)' in message


@pytest.mark.parametrize('layout', LAYOUTS)
def test_a_block_with_more_to_it_is_not_converted(layout):
    name = dict(huggingface='encoder.layer.1.', huggingface5='layers.1.').get(
        layout, 'layers.1.' if layout.startswith('mm') else 'blocks.1.'
    )
    source = {**weights(layout), f'{name}attn.k_norm.weight': torch.ones(WIDTH)}
    target = 'timm' if layout != 'timm' else 'huggingface'
    with pytest.raises(CheckpointError, match=r'no place for .*k_norm'):
        convert_state_dict(source, to=target)


def test_mmsegmentation_has_no_absolute_positions():
    with pytest.raises(CheckpointError, match='mmseg has no place for pos_embed'):
        convert_state_dict(weights('timm', absolute=True), to='mmseg')


@pytest.mark.parametrize('target', [each for each in LAYOUTS if each != 'timm'])
@pytest.mark.parametrize('source', ['unilm', 'timm'])
def test_the_authors_segmentation_models_have_a_prefix(source, target):
    """backbone.blocks.0..., and OpenMMLab's names around the backbone."""
    others = {'decode_head.conv_seg.weight': torch.ones(1), 'neck.0.bias': torch.ones(2)}
    given_ = {f'backbone.{n}': t for n, t in weights(source).items()} | others
    assert detect_layout(given_) == source
    if source == target:
        return
    expected = weights(target, prefix=True)
    if target in OPENMMLAB:
        expected |= others
    assert_same(convert_state_dict(given_, to=target), as_known_to(source, expected))


def test_a_shared_table_is_added_to_those_of_the_blocks():
    """transformers adds both."""
    ours = weights('beit_mm', tables='own')
    shared = torch.randn_like(ours['blocks.0.attn.rel_pos_bias.table'])
    converted = convert_state_dict({**ours, 'rel_pos_bias.table': shared}, to='mmseg')
    for n in range(2):
        expected = ours[f'blocks.{n}.attn.rel_pos_bias.table'] + shared
        assert converted[f'layers.{n}.attn.{TABLE}'].equal(expected)


@pytest.mark.parametrize('target', LAYOUTS)
def test_what_is_converted_can_be_written_to_safetensors(target, tmp_path):
    """That format refuses tensors that overlap or are not contiguous."""
    model = MODELS['backbone']
    source = 'huggingface' if target == 'timm' else 'timm'
    converted = convert_state_dict(weights(source, **model), to=target)
    save_file(converted, tmp_path / 'beit.safetensors')
    assert_same(load_file(tmp_path / 'beit.safetensors'), converted)


@pytest.mark.parametrize('to', ['nonsense', '', 'Timm', 'huggingface4'])
def test_an_unknown_target_is_an_error_that_names_the_choices(to):
    with pytest.raises(ValueError, match=f'{to!r} is none of') as error:
        convert_state_dict(weights('timm'), to=to)
    assert not isinstance(error.value, CheckpointError)
    for layout in LAYOUTS:
        assert layout in str(error.value)


def test_the_authors_two_kinds_of_files():
    """Names as in beit_base_patch16_224_pt22k.pth and ..._pt22k_ft22kto1k.pth, two blocks."""
    parts = [
        'gamma_1', 'gamma_2', 'norm1.weight', 'norm1.bias', 'attn.q_bias', 'attn.v_bias',
        'attn.qkv.weight', 'attn.proj.weight', 'attn.proj.bias', 'norm2.weight', 'norm2.bias',
        'mlp.fc1.weight', 'mlp.fc1.bias', 'mlp.fc2.weight', 'mlp.fc2.bias',
    ]  # fmt: skip
    blocks = [f'blocks.{n}.{part}' for n in (0, 11) for part in parts]
    outside = ['cls_token', 'patch_embed.proj.weight', 'patch_embed.proj.bias']
    tensors = iter(torch.arange(1000.0))
    common = {name: next(tensors).expand(6) for name in outside + blocks}

    table = torch.randn(27 * 27 + 3, 1)
    pretrained = {
        **common,
        'mask_token': torch.ones(1, 1, 6),
        f'rel_pos_bias.{TABLE}': table,
        f'rel_pos_bias.{INDEX}': index_of((14, 14)),
        'norm.weight': torch.full((6,), 2.0),
        'norm.bias': torch.full((6,), 3.0),
        'lm_head.weight': torch.full((8, 6), 4.0),
        'lm_head.bias': torch.full((8,), 5.0),
    }
    assert detect_layout(pretrained) == 'unilm'
    ours = convert_state_dict(pretrained, to='beit_mm')
    assert ours.keys() == {
        *(f'backbone.{name}' for name in common),
        'backbone.mask_token',
        'backbone.rel_pos_bias.table',
        'backbone.norm.weight',
        'backbone.norm.bias',
        'backbone.patch_grid',
        'head.classifier.weight',
        'head.classifier.bias',
    }
    assert ours['backbone.rel_pos_bias.table'] is table
    assert ours['backbone.patch_grid'].tolist() == [14, 14]
    for name, tensor in common.items():
        assert ours[f'backbone.{name}'] is tensor
    assert_same(convert_state_dict(ours, to='unilm'), pretrained)

    fine_tuned = {
        **common,
        **{f'blocks.{n}.attn.{TABLE}': table + n for n in (0, 11)},
        **{f'blocks.{n}.attn.{INDEX}': index_of((14, 14)) for n in (0, 11)},
        'fc_norm.weight': torch.full((6,), 2.0),
        'fc_norm.bias': torch.full((6,), 3.0),
        'head.weight': torch.full((8, 6), 4.0),
        'head.bias': torch.full((8,), 5.0),
    }
    assert detect_layout(fine_tuned) == 'unilm'
    ours = convert_state_dict(fine_tuned, to='beit_mm')
    assert torch.equal(ours['backbone.blocks.11.attn.rel_pos_bias.table'], table + 11)
    assert ours['head.fc.weight'] is fine_tuned['head.weight']
    assert ours['backbone.fc_norm.bias'] is fine_tuned['fc_norm.bias']
    assert not [name for name in ours if INDEX in name]
    assert_same(convert_state_dict(ours, to='unilm'), fine_tuned)


OPTIONS = st.fixed_dictionaries(
    dict(
        depth=st.integers(1, 12),
        # An index cannot tell a column of patches from a row: (n, 1) comes back as (1, n).
        grid=st.tuples(st.integers(1, 3), st.integers(1, 3)).filter(
            lambda g: g[1] > 1 or g[0] == 1
        ),
        tables=st.sampled_from(['own', 'shared', None]),
        absolute=st.booleans(),
        norm=st.booleans(),
        fc_norm=st.booleans(),
        mask_token=st.booleans(),
        head=st.sampled_from([None, 'classes', 'tokens']),
        layer_scale=st.booleans(),
    )
)
WITHOUT_MMSEG = st.sampled_from([each for each in LAYOUTS if each != 'mmseg'])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(source=WITHOUT_MMSEG, target=WITHOUT_MMSEG, options=OPTIONS)
def test_any_model_comes_back_as_it_was(source, target, options):
    original, expected = weights(source, **options), weights(target, **options)
    height, width = options['grid']
    known = source in KEEP_THE_GRID or height == width
    if options['tables'] and not known and target in WITH_INDEX:
        with pytest.raises(CheckpointError, match='not square'):
            convert_state_dict(original, to=target)
        return
    converted = convert_state_dict(original, to=target)
    if source != target:
        expected = as_known_to(source, expected)
    assert_same(converted, expected)

    # Back again, a grid that is not square is lost where nobody kept it.
    if target in KEEP_THE_GRID or height == width or source not in WITH_INDEX:
        original = as_known_to(target, original)
        assert_same(convert_state_dict(converted, to=source), original)


def test_a_log_line_names_large_parts_as_one():
    tokenizer = [f'target_generator.tokenizer.encoder.conv_{n}' for n in range(9)]
    blocks = [f'blocks.{n}.gamma_1' for n in range(12)]
    names = ['head.fc.weight', *tokenizer, *blocks, 'fpn1.0.weight']
    expected = 'head.fc.weight, target_generator.* (9), blocks.*.gamma_1 (12), fpn1.0.weight'
    assert summarize(names) == expected
    assert summarize([]) == 'none'
