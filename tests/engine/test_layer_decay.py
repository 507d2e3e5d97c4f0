"""Layer-wise rates and decays: MMPretrain's constructor, the closed form, each parameter once."""

import logging

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from beit_mm.checkpoints import convert_state_dict
from beit_mm.engine import LayerDecayOptimWrapperConstructor
from beit_mm.models import BEiT

ARCH = dict(embed_dims=24, num_layers=3, num_heads=2, feedforward_channels=48)
OPTIMIZER = dict(type='AdamW', lr=4e-3, weight_decay=0.05, betas=(0.9, 0.98), eps=1e-7)


def wrapper(model, rate=0.65, **changes):
    cfg = dict(
        constructor='beit_mm.LayerDecayOptimWrapperConstructor',
        paramwise_cfg=dict(layer_decay_rate=rate),
        optimizer=OPTIMIZER,
        **changes,
    )
    return build_optim_wrapper(model, cfg)


def classifier(backbone_type='beit_mm.BEiT', **changes):
    pytest.importorskip('mmpretrain')
    cfg = dict(
        type='ImageClassifier',
        backbone=dict(type=backbone_type, arch=ARCH, img_size=64, **changes),
        head=dict(type='LinearClsHead', num_classes=5, in_channels=24),
    )
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(cfg)


def settings(model, optim_wrapper) -> dict[str, tuple[float, float]]:
    """Name of a parameter -> its learning rate and weight decay; each is in one group, once."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rows = [
        (names[id(parameter)], group['lr'], group['weight_decay'])
        for group in optim_wrapper.optimizer.param_groups
        for parameter in group['params']
    ]
    found = {name: (lr, decay) for name, lr, decay in rows}
    assert len(found) == len(rows), 'a parameter is in two groups'
    return found


def mmpretrains(model) -> dict[str, tuple[float, float]]:
    cfg = dict(
        constructor='mmpretrain.LearningRateDecayOptimWrapperConstructor',
        paramwise_cfg=dict(
            layer_decay_rate=0.65,
            flat_decay_mult=0.0,
            custom_keys={'.cls_token': dict(decay_mult=0.0), '.pos_embed': dict(decay_mult=0.0)},
        ),
        optimizer=OPTIMIZER,
    )
    return settings(model, build_optim_wrapper(model, cfg))


FORMS = [
    dict(),
    dict(use_abs_pos_emb=True),
    dict(use_rel_pos_bias=False, use_shared_rel_pos_bias=True, use_abs_pos_emb=True),
    dict(out_type='cls_token', final_norm=True),
    dict(frozen_stages=2),
]


@pytest.mark.parametrize('form', FORMS, ids=str)
def test_every_parameter_has_mmpretrains_rate_and_decay(form):
    model = classifier(**form)
    ours, theirs = settings(model, wrapper(model)), mmpretrains(model)
    assert set(ours) == set(theirs) == {n for n, p in model.named_parameters() if p.requires_grad}
    for name, found in ours.items():
        assert found == pytest.approx(theirs[name], rel=1e-12), name


@pytest.mark.parametrize('form', FORMS[:3], ids=str)
def test_the_same_network_of_mmpretrain_has_the_same_rates_and_decays(form):
    """By MMPretrain's constructor on its own BEiTViT; the parameters are matched by name."""
    model = classifier(**form)
    theirs = classifier('BEiTViT', out_type='avg_featmap', **{'use_abs_pos_emb': False, **form})
    expected = mmpretrains(theirs)
    # Names of theirs as ours: each tensor holds its own number.
    numbered = {
        name: tensor if 'index' in name else torch.full_like(tensor, number)
        for number, (name, tensor) in enumerate(theirs.state_dict().items())
    }
    converted = convert_state_dict(numbered, to='beit_mm')
    names = list(numbered)
    ours = settings(model, wrapper(model))
    for name, found in ours.items():
        assert name in converted
        their_name = names[int(converted[name].flatten()[-1])]
        assert found == pytest.approx(expected[their_name], rel=1e-12), (name, their_name)


@pytest.mark.parametrize('rate', [0.65, 1.0])
def test_rates_are_the_closed_form(rate):
    """lr * rate^(L + 1 - depth): 0 for the embeddings, l for the l-th block, L + 1 for the rest."""
    model = nn.ModuleDict(
        dict(encoder=BEiT(ARCH, use_abs_pos_emb=True, with_mask_token=True), head=nn.Linear(24, 5))
    )
    found = settings(model, wrapper(model, rate))
    assert set(found) == set(dict(model.named_parameters()))
    undecayed = set()
    for name, (lr, decay) in found.items():
        part, _, rest = name.removeprefix('encoder.').partition('.')
        embeddings = ('patch_embed', 'cls_token', 'mask_token', 'pos_embed')
        depth = 0 if part in embeddings else 1 + int(rest[0]) if part == 'blocks' else 4
        assert lr == pytest.approx(4e-3 * rate ** (4 - depth), rel=1e-12), name
        if decay == 0.0:
            undecayed.add(name.rpartition('.')[2])
        else:
            assert decay == 0.05
            assert name.endswith(('weight', 'table', 'mask_token')), name
    assert undecayed == {'weight', 'bias', 'q_bias', 'v_bias', 'gamma_1', 'gamma_2', 'cls_token',
                         'pos_embed'}  # fmt: skip
    assert found['encoder.blocks.0.norm1.weight'][1] == found['encoder.fc_norm.weight'][1] == 0.0


def test_settings_of_optimizer_and_wrapper_arrive():
    optim_wrapper = wrapper(BEiT(ARCH), clip_grad=dict(max_norm=2.5), accumulative_counts=3)
    assert isinstance(optim_wrapper.optimizer, torch.optim.AdamW)
    for group in optim_wrapper.optimizer.param_groups:
        assert (group['betas'], group['eps']) == ((0.9, 0.98), 1e-7)
    assert optim_wrapper.clip_grad_kwargs == dict(max_norm=2.5)
    assert optim_wrapper._accumulative_counts == 3
    # A config's dicts are no plain dicts.
    cfg = Config(dict(optim_wrapper=dict(optimizer=OPTIMIZER)))
    build = LayerDecayOptimWrapperConstructor(cfg.optim_wrapper, None)
    assert {group['lr'] for group in build(BEiT(ARCH)).optimizer.param_groups} == {4e-3}


def test_parts_of_ones_own_multiply_what_depth_gives():
    """As mmengine has custom_keys: the longest part of a name counts."""
    model = classifier()
    keys = {
        'head': dict(lr_mult=10.0),
        'layers.1': dict(decay_mult=0.0),
        'layers.1.attn': dict(lr_mult=0.5),
    }
    plain = settings(model, wrapper(model))
    cfg = dict(
        constructor='beit_mm.LayerDecayOptimWrapperConstructor',
        paramwise_cfg=dict(layer_decay_rate=0.65, custom_keys=keys),
        optimizer=OPTIMIZER,
    )
    found = settings(model, build_optim_wrapper(model, cfg))
    for name, (lr, decay) in plain.items():
        rate, weight = 1.0, 1.0
        if 'head' in name:
            rate = 10.0
        if 'layers.1.' in name:
            rate, weight = (0.5, 1.0) if 'attn' in name else (1.0, 0.0)
        assert found[name] == pytest.approx((lr * rate, decay * weight)), name


def test_an_optimizer_without_weight_decay_decays_nothing():
    model = classifier()
    cfg = dict(
        constructor='beit_mm.LayerDecayOptimWrapperConstructor',
        paramwise_cfg=dict(layer_decay_rate=0.65),
        optimizer=dict(type='SGD', lr=0.1),
    )
    found = settings(model, build_optim_wrapper(model, cfg))
    assert {decay for _, decay in found.values()} == {0.0}
    assert len({lr for lr, _ in found.values()}) == 5


def test_a_step_moves_parameters_by_their_rates():
    """AdamW's first step is the learning rate itself, whatever the gradient."""
    model = BEiT(ARCH, img_size=32, out_type='raw')
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optim_wrapper = wrapper(model, 0.5)
    optim_wrapper.update_params(sum(p.sum() for p in model.parameters()))
    for name, depth in (('cls_token', 0), ('blocks.0.gamma_1', 1), ('blocks.2.norm1.bias', 3)):
        moved = before[name] - model.get_parameter(name).detach()
        torch.testing.assert_close(moved, torch.full_like(moved, 4e-3 * 0.5 ** (4 - depth)),
                                   rtol=1e-3, atol=0)  # fmt: skip


def test_shared_parameters_are_in_one_group():
    model = nn.ModuleDict(dict(backbone=BEiT(ARCH), head=nn.Linear(24, 24)))
    model['tied'] = model['head']
    model['backbone'].blocks[1].mlp.fc1 = model['backbone'].blocks[0].mlp.fc1
    found = settings(model, wrapper(model))
    assert found['backbone.blocks.0.mlp.fc1.weight'][0] == pytest.approx(4e-3 * 0.65**3)


def test_models_in_ddp_are_as_without(tmp_path):
    torch.distributed.init_process_group('gloo', f'file://{tmp_path}/store', rank=0, world_size=1)
    try:
        model = nn.ModuleDict(dict(backbone=BEiT(ARCH), head=nn.Linear(24, 5)))
        wrapped = MMDistributedDataParallel(model, device_ids=None)
        assert settings(model, wrapper(wrapped)) == settings(model, wrapper(model))
    finally:
        torch.distributed.destroy_process_group()


def test_segmenters_follow_their_backbone():
    pytest.importorskip('mmseg')
    cfg = dict(
        type='EncoderDecoder',
        backbone=dict(type='beit_mm.BEiT', arch=ARCH, img_size=64, out_type='featmap'),
        decode_head=dict(
            type='FCNHead', in_channels=24, channels=8, num_classes=3, norm_cfg=dict(type='BN')
        ),
    )
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg)
    found = settings(model, wrapper(model))
    assert set(found) == set(dict(model.named_parameters()))
    assert found['decode_head.conv_seg.weight'] == (4e-3, 0.05)
    assert found['decode_head.conv_seg.bias'] == (4e-3, 0.0)
    assert found['decode_head.convs.0.bn.weight'] == (4e-3, 0.0)
    assert found['backbone.blocks.2.mlp.fc1.weight'][0] == pytest.approx(4e-3 * 0.65)


def test_table_at_start_adds_up(caplog):
    model = BEiT(ARCH, use_abs_pos_emb=True)
    logger = MMLogger.get_instance('layer-decay', logger_name='layer-decay')
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO):
        wrapper(model)
    assert len(caplog.messages) == 1
    rows = [line.split() for line in caplog.messages[0].splitlines()[2:]]
    assert sum(int(row[3]) for row in rows) == len(list(model.parameters()))
    values = sum(int(row[4].replace(',', '')) for row in rows)
    assert values == sum(p.numel() for p in model.parameters())
    assert [int(row[0]) for row in rows] == [0, 0, 1, 1, 2, 2, 3, 3, 4]
    assert float(rows[0][1]) == pytest.approx(4e-3 * 0.65**4, rel=1e-2)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(paramwise_cfg=dict(layer_decay_rat=0.5, bias_lr_mult=2)),
         'layer_decay_rat, bias_lr_mult; .*takes layer_decay_rate'),
        (dict(paramwise_cfg=dict(layer_decay_rate=0)), r'layer_decay_rate is 0, .*\(0, 1\]'),
        (dict(paramwise_cfg=dict(layer_decay_rate=1.2)), 'layer_decay_rate is 1.2'),
        (dict(paramwise_cfg=dict(custom_keys={'head': dict(lr=2)})), 'it takes lr_mult and decay'),
        (dict(optimizer=dict(type='AdamW', weight_decay=0.1)), 'optimizer has no lr'),
        (dict(optimizer=dict()), 'optimizer has no lr'),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_settings_are_refused_by_name(changes, message):
    cfg = dict(constructor='beit_mm.LayerDecayOptimWrapperConstructor', optimizer=OPTIMIZER)
    with pytest.raises(ValueError, match=message):
        build_optim_wrapper(BEiT(ARCH), {**cfg, **changes})


def test_a_model_without_beit_is_refused():
    with pytest.raises(ValueError, match='Linear has no BEiT and no VisionTransformer'):
        wrapper(nn.Linear(2, 2))


def test_mmsegmentations_constructors_would_train_all_blocks_at_the_full_rate():
    """So they are refused, with what gives each depth the rate that theirs give their own BEiT."""
    mmseg = pytest.importorskip('mmseg.engine')
    from mmseg.models.backbones import BEiT as MMSegBEiT

    from beit_mm.component import Component
    from beit_mm.engine.checking.config_check import _Types
    from beit_mm.engine.checking.others_check import check_constructor

    cfg = dict(
        constructor='LayerDecayOptimizerConstructor',
        paramwise_cfg=dict(num_layers=2, layer_decay_rate=0.5),
        optimizer=OPTIMIZER,
    )
    size = dict(img_size=32, patch_size=16, embed_dims=24, num_layers=2, num_heads=2)
    arch = dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=96)
    ours = nn.ModuleDict(dict(backbone=BEiT(arch=arch, img_size=32, out_type='featmap')))
    theirs = nn.ModuleDict(dict(backbone=MMSegBEiT(**size, out_indices=(1,), qv_bias=True)))

    def rates(model, constructor):
        return {n: lr for n, (lr, _) in settings(model, constructor(model)).items()}

    def mmsegs():
        return mmseg.LayerDecayOptimizerConstructor(
            dict(optimizer=OPTIMIZER), dict(cfg['paramwise_cfg'])
        )

    base = OPTIMIZER['lr']
    assert rates(theirs, mmsegs())['backbone.layers.0.attn.qkv.weight'] == base / 4
    assert rates(ours, mmsegs())['backbone.blocks.0.attn.qkv.weight'] == base

    model = Component('model', dict(backbone=dict(type='beit_mm.BEiT')), _Types('mmseg').find)
    (said,) = check_constructor(Config(dict(optim_wrapper=cfg)), model)
    assert "set it to 'beit_mm.LayerDecayOptimWrapperConstructor'" in said
    assert 'dict(layer_decay_rate=0.5) alone' in said
    own = LayerDecayOptimWrapperConstructor(dict(optimizer=OPTIMIZER), dict(layer_decay_rate=0.5))
    assert rates(ours, own)['backbone.blocks.0.attn.qkv.weight'] == base / 4
    own = dict(cfg, constructor='beit_mm.LayerDecayOptimWrapperConstructor')
    assert list(check_constructor(Config(dict(optim_wrapper=own)), model)) == []


def test_keys_by_mmpretrains_names_are_told():
    """Its recipe of BEiT spares the norms by '.ln', which are called otherwise here."""
    from beit_mm.engine.checking.others_check import strange_keys

    model = classifier()
    keys = {
        key: dict(decay_mult=0.0)
        for key in ('.ln', 'layers.1.ffn', '.bias', '.pos_embed', '.gamma', '.cls_token')
    }
    cfg = Config(dict(optim_wrapper=dict(paramwise_cfg=dict(custom_keys=keys))))
    norms, halves = strange_keys(cfg, model)
    assert "no parameter bears '.ln'" in norms
    assert 'here blocks.{n}.norm1, blocks.{n}.norm2, fc_norm: it has no effect' in norms
    assert 'here blocks.{n}.mlp.fc1, blocks.{n}.mlp.fc2: it' in halves


def test_of_several_networks_each_has_depths_of_its_own():
    """Such as a teacher that stands still before the student, or two that see other images."""
    deeper = dict(ARCH, num_layers=5)
    parts = dict(
        teacher=BEiT(arch=deeper, img_size=32).requires_grad_(False),
        student=BEiT(arch=ARCH, img_size=32),
        other=BEiT(arch=deeper, img_size=32),
        head=nn.Linear(24, 2),
    )
    model = nn.ModuleDict(parts)
    found = settings(model, wrapper(model, 0.5))
    base = OPTIMIZER['lr']
    for name, blocks in (('student', 3), ('other', 5)):
        assert found[f'{name}.patch_embed.proj.weight'][0] == pytest.approx(
            base * 0.5 ** (blocks + 1)
        )
        for block in range(blocks):
            rate = found[f'{name}.blocks.{block}.attn.qkv.weight'][0]
            assert rate == pytest.approx(base * 0.5 ** (blocks - block))
        assert found[f'{name}.fc_norm.weight'][0] == base
    assert found['head.weight'][0] == base
    assert not any(name.startswith('teacher') for name in found)
