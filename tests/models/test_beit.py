"""The backbone: against MMPretrain's two, its initialisation, freezing, masks and loading."""

import copy
import inspect
import itertools
import math
import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.models import BEiTPretrainViT, BEiTViT
from torch import nn

from beit_mm.checkpoints import CheckpointError
from beit_mm.layers import compiling
from beit_mm.layers import positions as positions_module
from beit_mm.layers.block import Block
from beit_mm.layers.compiling import can_compile
from beit_mm.layers.resize_positions import resize_absolute_positions
from beit_mm.models import BEiT, VisionTransformer
from beit_mm.models.sizes import ARCHS

ARCH = dict(embed_dims=48, num_layers=3, num_heads=4, feedforward_channels=96)
SIZE = (32, 48)
GRID = (4, 6)
POSITIONS = {
    'table a block': dict(
        use_rel_pos_bias=True, use_shared_rel_pos_bias=False, use_abs_pos_emb=False
    ),
    'shared table': dict(
        use_rel_pos_bias=False, use_shared_rel_pos_bias=True, use_abs_pos_emb=False
    ),
    'absolute': dict(use_rel_pos_bias=False, use_shared_rel_pos_bias=False, use_abs_pos_emb=True),
    'none': dict(use_rel_pos_bias=False, use_shared_rel_pos_bias=False, use_abs_pos_emb=False),
}


def small_settings(**changes):
    return dict(arch=ARCH, img_size=SIZE, patch_size=8, **changes)


def randomize(model, seed=0):
    """Fill every parameter, so that no bias, table or norm hides behind its initial value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=0.2, generator=generator)
            if ('norm' in name and name.endswith('weight')) or 'gamma' in name:
                parameter.add_(1)
            if name.endswith('table'):
                parameter.mul_(5)
    return model


def small_beit(seed=0, **changes):
    return randomize(BEiT(**small_settings(**changes)), seed)


def images_and_mask(dtype=torch.float32, batch=2, size=SIZE, seed=1):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(batch, 3, *size, generator=generator, dtype=dtype)
    mask = torch.rand(batch, size[0] // 8, size[1] // 8, generator=generator) < 0.4
    return images, mask


def name_in_mmpretrain(name):
    """MMPretrain's name of one of our parameters."""
    whole = {
        'norm.': 'ln1.',
        'fc_norm.': 'ln2.',
        'patch_embed.proj.': 'patch_embed.projection.',
        'rel_pos_bias.table': 'rel_pos_bias.relative_position_bias_table',
    }
    for ours, theirs in whole.items():
        if name.startswith(ours):
            return name.replace(ours, theirs)
    parts = {
        'blocks.': 'layers.',
        '.norm1.': '.ln1.',
        '.norm2.': '.ln2.',
        '.mlp.fc1.': '.ffn.layers.0.0.',
        '.mlp.fc2.': '.ffn.layers.1.',
        '.attn.rel_pos_bias.table': '.attn.relative_position_bias_table',
    }
    for ours, theirs in parts.items():
        name = name.replace(ours, theirs)
    return name


def with_weights_of(peer, ours):
    theirs = dict(peer.named_parameters())
    weights = {name_in_mmpretrain(name): p for name, p in ours.named_parameters()}
    # MMPretrain's pre-training class holds a mask token whether one is wanted or not.
    assert theirs.keys() - {'mask_token'} == weights.keys() - {'mask_token'}
    with torch.no_grad():
        for name, weight in weights.items():
            assert theirs[name].shape == weight.shape, name
            theirs[name].copy_(weight)
    return peer


def assert_same_outputs_and_gradients(ours, peer, run_ours, run_peer, images, atol, grad_atol):
    generator = torch.Generator().manual_seed(2)
    results = []
    for run in (run_ours, run_peer):
        results.append(run(images.clone().requires_grad_()))
    assert len(results[0]) == len(results[1])
    for own, other in zip(*results, strict=True):
        torch.testing.assert_close(own, other, rtol=atol, atol=atol)
        weights = torch.randn(own.shape, generator=generator, dtype=own.dtype)
        for output in (own, other):
            (output * weights).sum().backward(retain_graph=True)
    theirs = dict(peer.named_parameters())
    for name, parameter in ours.named_parameters():
        other = theirs[name_in_mmpretrain(name)]
        # A norm after the last block is not reached where the last block is not asked for.
        assert (parameter.grad is None) == (other.grad is None), name
        if parameter.grad is not None:
            assert parameter.grad.abs().max() > 0, name
            torch.testing.assert_close(
                parameter.grad, other.grad, rtol=grad_atol, atol=grad_atol, msg=name
            )


# Double precision holds the two to rounding error, where a wrong epsilon would show; single is
# what users run.
PRECISIONS = [(torch.float64, 1e-11, 1e-10), (torch.float32, 1e-5, 1e-4)]


@pytest.mark.parametrize(('dtype', 'atol', 'grad_atol'), PRECISIONS)
@pytest.mark.parametrize('positions', POSITIONS)
@pytest.mark.parametrize(
    ('out_type', 'out_indices', 'final_norm'),
    [
        ('raw', [-1], True),
        ('raw', [0, 1, 2], False),
        ('cls_token', [0, -1], True),
        ('featmap', [1], True),
        ('featmap', [2, 0], False),
        ('avg_featmap', [-1], False),
        ('avg_featmap', [0, 2], True),
    ],
)
def test_outputs_and_gradients_equal_mmpretrains(
    positions, out_type, out_indices, final_norm, dtype, atol, grad_atol
):
    settings = small_settings(out_type=out_type, final_norm=final_norm, **POSITIONS[positions])
    ours = randomize(BEiT(out_indices=tuple(out_indices), **settings)).to(dtype)
    # MMPretrain writes the resolved indices into the list it is given.
    peer = with_weights_of(BEiTViT(out_indices=list(out_indices), **settings).to(dtype), ours)
    images, _ = images_and_mask(dtype)
    assert_same_outputs_and_gradients(ours, peer, ours, peer, images, atol, grad_atol)


@pytest.mark.parametrize(('dtype', 'atol', 'grad_atol'), PRECISIONS)
@pytest.mark.parametrize('positions', ['table a block', 'shared table', 'absolute'])
@pytest.mark.parametrize('masked', [False, True])
def test_outputs_and_gradients_equal_mmpretrains_in_pretraining(
    positions, masked, dtype, atol, grad_atol
):
    settings = small_settings(out_type='raw', final_norm=True, **POSITIONS[positions])
    ours = small_beit(
        out_indices=(0, 2),
        out_type='raw',
        final_norm=True,
        with_mask_token=True,
        **POSITIONS[positions],
    ).to(dtype)
    peer = with_weights_of(BEiTPretrainViT(out_indices=[0, 2], **settings).to(dtype), ours)
    images, mask = images_and_mask(dtype)
    mask = mask if masked else None
    assert_same_outputs_and_gradients(
        ours, peer, lambda x: ours(x, mask), lambda x: peer(x, mask), images, atol, grad_atol
    )


def test_layer_scale_of_zero_means_none_as_in_mmpretrain():
    settings = small_settings(layer_scale_init_value=0)
    ours = small_beit(layer_scale_init_value=0)
    assert not [name for name, _ in ours.named_parameters() if 'gamma' in name]
    peer = with_weights_of(BEiTViT(**settings), ours)
    images, _ = images_and_mask()
    torch.testing.assert_close(ours(images)[0], peer(images)[0], rtol=1e-5, atol=1e-5)


def test_arguments_have_mmpretrains_names_and_defaults():
    # What it does not take itself it hands on to the Transformer below.
    below = inspect.signature(VisionTransformer).parameters
    ours = {**below, **inspect.signature(BEiT).parameters}
    of_other_papers = 'positions', 'positions_at', 'num_extra_tokens', 'stem', 'initial_values'
    ours = {name: ours[name] for name in ours.keys() - {'settings', *of_other_papers}}
    theirs = inspect.signature(BEiTViT).parameters
    own = {'with_mask_token', 'with_cp', 'skip_dropped', 'compile_blocks', 'bands', 'fit_bands'}
    assert own == ours.keys() - theirs.keys()
    for name in ours.keys() - own:
        assert ours[name].default == theirs[name].default, name


@pytest.mark.parametrize('arch', ['tiny', 'small', 'base', 'large'])
def test_named_architectures_have_mmpretrains_sizes(arch):
    peer = BEiTViT.arch_zoo[{'tiny': 'deit-tiny', 'small': 'deit-small'}.get(arch, arch)]
    assert ARCHS[arch] == peer


def test_base_has_the_papers_86_million_parameters():
    with torch.device('meta'):
        model = BEiT('base', out_type='raw', use_rel_pos_bias=False, use_abs_pos_emb=True)
    # Per block: norms 4C, qkv 3CC + 2C, proj CC + C, FFN 8CC + 5C, LayerScale 2C.
    width, patch_values, patches = 768, 3 * 16 * 16, 196
    expected = 12 * (12 * width**2 + 14 * width)
    expected += (patch_values + 1) * width + width + (1 + patches) * width
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize(
    ('out_type', 'shape'),
    [
        ('raw', (2, 25, 48)),
        ('cls_token', (2, 48)),
        ('featmap', (2, 48, 4, 6)),
        ('avg_featmap', (2, 48)),
    ],
)
def test_output_forms_are_views_of_the_same_hidden_states(out_type, shape):
    model = small_beit(out_type=out_type, out_indices=(0, 2))
    raw = small_beit(out_type='raw', out_indices=(0, 2))
    raw.load_state_dict(model.state_dict(), strict=False)
    images, _ = images_and_mask()
    for output, hidden in zip(model(images), raw(images), strict=True):
        assert output.shape == shape
        if out_type == 'featmap':
            for y, x in np.ndindex(*GRID):
                assert output[:, :, y, x].equal(hidden[:, 1 + y * GRID[1] + x])
        elif out_type == 'cls_token':
            assert output.equal(hidden[:, 0])
        elif out_type == 'avg_featmap':
            mean = sum(hidden[:, place] for place in range(1, 25)) / 24
            expected = (mean - mean.mean(1, keepdim=True)) / torch.sqrt(
                mean.var(1, unbiased=False, keepdim=True) + 1e-6
            )
            expected = expected * model.fc_norm.weight + model.fc_norm.bias
            torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)


def test_without_positions_every_multiple_of_the_patch_is_a_size():
    model = small_beit(out_type='featmap', **POSITIONS['none'])
    images, _ = images_and_mask(size=(16, 72))
    assert model(images)[0].shape == (2, 48, 2, 9)


# --- initialisation -------------------------------------------------------------------------


def cut_std():
    """Standard deviation of a normal of std 0.02 that is cut at one std, in closed form."""
    density = math.exp(-0.5) / math.sqrt(2 * math.pi)
    return 0.02 * math.sqrt(1 - 2 * density / math.erf(1 / math.sqrt(2)))


@pytest.mark.parametrize('call_init_weights', [False, True])
def test_initialisation_is_the_papers(call_init_weights):
    torch.manual_seed(0)
    model = BEiT(
        dict(embed_dims=96, num_layers=4, num_heads=4, feedforward_channels=384),
        img_size=64,
        patch_size=8,
        layer_scale_init_value=0.3,
        use_abs_pos_emb=True,
        with_mask_token=True,
        final_norm=True,
    )
    if call_init_weights:
        model.init_weights()
    checked = set()

    def assert_cut_normal(name, scale=1.0):
        checked.add(name)
        tensor = model.state_dict()[name]
        limit = 0.02 * scale
        # How near the cut the largest comes: a token's few values come less near, by chance
        # (every torch draws its own), and miss this by about 5e-5.
        near = 1 - max(0.03, 14 / tensor.numel())
        assert near * limit < tensor.abs().max() <= limit * (1 + 1e-6), name
        if tensor.numel() > 4096:
            assert tensor.std().item() == pytest.approx(cut_std() * scale, rel=0.03), name
            assert abs(tensor.mean().item()) < 0.03 * limit, name

    def assert_constant(name, value):
        checked.add(name)
        tensor = model.state_dict()[name]
        assert tensor.eq(torch.tensor(value, dtype=tensor.dtype)).all(), name

    for name in ('patch_embed.proj.weight', 'cls_token', 'mask_token', 'pos_embed'):
        assert_cut_normal(name)
    for depth in range(1, 5):
        block = f'blocks.{depth - 1}.'
        assert_cut_normal(f'{block}attn.qkv.weight')
        assert_cut_normal(f'{block}mlp.fc1.weight')
        assert_cut_normal(f'{block}attn.proj.weight', 1 / math.sqrt(2 * depth))
        assert_cut_normal(f'{block}mlp.fc2.weight', 1 / math.sqrt(2 * depth))
        assert_constant(f'{block}attn.rel_pos_bias.table', 0.0)
        for bias in ('attn.q_bias', 'attn.v_bias', 'attn.proj.bias', 'mlp.fc1.bias'):
            assert_constant(block + bias, 0.0)
        assert_constant(f'{block}mlp.fc2.bias', 0.0)
        for gamma in ('gamma_1', 'gamma_2'):
            assert_constant(block + gamma, 0.3)
        for norm in ('norm1', 'norm2'):
            assert_constant(f'{block}{norm}.weight', 1.0)
            assert_constant(f'{block}{norm}.bias', 0.0)
    assert_constant('patch_embed.proj.bias', 0.0)
    for norm in ('norm', 'fc_norm'):
        assert_constant(f'{norm}.weight', 1.0)
        assert_constant(f'{norm}.bias', 0.0)
    # Not a weight: what the positions are made for.
    assert model.state_dict()['patch_grid'].tolist() == [8, 8]
    assert checked == set(model.state_dict()) - {'patch_grid'}


def test_initialisation_by_xavier_grows_as_the_width_shrinks():
    torch.manual_seed(0)
    model = BEiT(**small_settings(initial_values='xavier', use_abs_pos_emb=True))
    shapes = {'patch_embed.proj': (8 * 8 * 3, 48), 'blocks.1.attn.qkv': (48, 144),
              'blocks.2.mlp.fc2': (96, 48)}  # fmt: skip
    for name, (fan_in, fan_out) in shapes.items():
        weight = model.get_submodule(name).weight
        limit = math.sqrt(6 / (fan_in + fan_out))
        assert 0.99 * limit < weight.abs().max() <= limit, name
        assert weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.03), name
    assert model.blocks[1].attn.rel_pos_bias.table.eq(0).all()
    with pytest.raises(ValueError, match="initial_values 'kaiming': there are truncated-normal, x"):
        BEiT(**small_settings(initial_values='kaiming'))


def test_shared_table_starts_at_zero():
    model = BEiT(**small_settings(**POSITIONS['shared table']))
    assert model.rel_pos_bias.table.shape == (7 * 11 + 3, 4)
    assert model.rel_pos_bias.table.abs().max() == 0


def test_other_initialisers_of_mmengine_apply():
    model = BEiT(**small_settings(init_cfg=dict(type='Constant', layer='Linear', val=0.5)))
    model.init_weights()
    assert model.blocks[1].mlp.fc2.weight.eq(0.5).all()
    assert model.patch_embed.proj.weight.abs().max() <= 0.02


# --- stochastic depth, recomputation, freezing --------------------------------------------------


def test_drop_path_rates_rise_linearly_from_zero():
    arch = {**ARCH, 'num_layers': 5}
    model = BEiT(**{**small_settings(drop_path_rate=0.4), 'arch': arch})
    rates = [block.drop_path.drop_prob for block in model.blocks]
    assert rates == pytest.approx(np.linspace(0, 0.4, 5).tolist())


def test_a_single_block_has_no_drop_path():
    arch = {**ARCH, 'num_layers': 1}
    model = BEiT(**{**small_settings(drop_path_rate=0.4), 'arch': arch})
    assert model.blocks[0].drop_path.drop_prob == 0


@pytest.mark.parametrize('silent', ['gamma_1', 'gamma_2'])
def test_drop_path_leaves_a_whole_branch_of_an_image_out_or_scales_it(silent):
    torch.manual_seed(0)
    block = randomize(Block(48, 4, 96, 0.75, 0.1, None))
    with torch.no_grad():
        getattr(block, silent).zero_()
    x = torch.randn(64, 25, 48)
    branch = block.eval()(x, None, None) - x
    change = block.train()(x, None, None) - x
    # With a survival rate of 1/4 the survivors count four times.
    kept = change.flatten(1).abs().amax(1) > 0
    assert 4 <= kept.sum() <= 32
    torch.testing.assert_close(change[kept], 4 * branch[kept], rtol=0, atol=1e-4)


def test_training_is_stochastic_and_evaluation_is_not():
    model = small_beit(drop_path_rate=0.5)
    images, _ = images_and_mask(batch=8)
    torch.manual_seed(0)
    model.train()
    assert not model(images)[0].equal(model(images)[0])
    model.eval()
    assert model(images)[0].equal(model(images)[0])
    without = small_beit(drop_path_rate=0.0)
    assert without.train()(images)[0].equal(model(images)[0])


@pytest.mark.parametrize('positions', ['table a block', 'shared table'])
def test_recomputing_blocks_changes_neither_outputs_nor_gradients(positions):
    results, calls = [], []
    for with_cp in (False, True):
        model = small_beit(
            drop_path_rate=0.5,
            out_type='raw',
            with_mask_token=True,
            with_cp=with_cp,
            **POSITIONS[positions],
        ).train()
        runs = []
        model.blocks[1].register_forward_pre_hook(lambda *_, runs=runs: runs.append(1))
        images, mask = images_and_mask(batch=4)
        # Recomputation must draw the same stochastic depth again.
        torch.manual_seed(0)
        output = model(images, mask)[0]
        output.square().sum().backward()
        calls.append(len(runs))
        results.append((output, {name: p.grad for name, p in model.named_parameters()}))
    assert calls == [1, 2]
    (plain, plain_gradients), (recomputed, gradients) = results
    torch.testing.assert_close(plain, recomputed, rtol=0, atol=0)
    for name, gradient in plain_gradients.items():
        assert gradient is not None, name
        torch.testing.assert_close(gradient, gradients[name], rtol=1e-6, atol=1e-5, msg=name)


EMBEDDINGS = {
    'patch_embed.proj.weight',
    'patch_embed.proj.bias',
    'cls_token',
    'mask_token',
    'pos_embed',
}


def freezable_beit(frozen_stages, shared):
    return small_beit(
        frozen_stages=frozen_stages,
        drop_path_rate=0.5,
        use_abs_pos_emb=True,
        use_rel_pos_bias=not shared,
        use_shared_rel_pos_bias=shared,
        with_mask_token=True,
        final_norm=True,
        out_type='avg_featmap',
    )


@pytest.mark.parametrize('shared', [False, True])
@pytest.mark.parametrize('frozen_stages', [-1, 0, 2, 3])
def test_frozen_stages_freeze_exactly_their_parameters(frozen_stages, shared):
    model = freezable_beit(frozen_stages, shared)
    expected = set()
    if frozen_stages >= 0:
        expected |= EMBEDDINGS
    for index in range(max(0, frozen_stages)):
        block = f'blocks.{index}.'
        expected |= {name for name, _ in model.named_parameters() if name.startswith(block)}
    if frozen_stages > 0 and shared:
        expected |= {'rel_pos_bias.table'}
    if frozen_stages == 3:
        expected |= {'norm.weight', 'norm.bias', 'fc_norm.weight', 'fc_norm.bias'}
        assert len(expected) == len(list(model.parameters()))
    assert {name for name, p in model.named_parameters() if not p.requires_grad} == expected


@pytest.mark.parametrize('frozen_stages', [-1, 0, 2, 3])
def test_frozen_stages_stay_in_eval_mode(frozen_stages):
    model = nn.Sequential(freezable_beit(frozen_stages, shared=False))
    backbone = model[0]
    for mode in (True, False, True):
        model.train(mode)
        for index, block in enumerate(backbone.blocks):
            expected = mode and index >= frozen_stages
            assert {module.training for module in block.modules()} == {expected}, index
        assert backbone.patch_embed.training == (mode and frozen_stages < 0)
        assert backbone.fc_norm.training == (mode and frozen_stages < 3)


@pytest.mark.parametrize('frozen_stages', [0, 2])
def test_an_optimizer_step_leaves_frozen_weights_alone_and_moves_the_others(frozen_stages):
    model = freezable_beit(frozen_stages, shared=True).train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    images, mask = images_and_mask(batch=8)
    model(images, mask)[0].square().sum().backward()
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert parameter.equal(before[name]) != parameter.requires_grad, name


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('out_indices', [0, 1, 2, (0, 1), (2, 0)])
def test_no_block_runs_behind_the_last_one_wanted(out_indices, with_cp):
    """What is run gets a gradient, and what gets none needs none, as DDP wants it."""
    model = small_beit(out_indices=out_indices, final_norm=True, with_cp=with_cp).train()
    ran = []
    for index, block in enumerate(model.blocks):
        block.register_forward_pre_hook(lambda module, args, index=index: ran.append(index))
    images, _ = images_and_mask()
    sum(output.square().sum() for output in model(images)).backward()
    last = out_indices if isinstance(out_indices, int) else max(out_indices)
    assert sorted(set(ran)) == list(range(last + 1))
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == (parameter.grad is not None), name
    assert any(not p.requires_grad for p in model.parameters()) == (last < 2)


# --- masks ------------------------------------------------------------------------------------


def test_pixels_of_masked_patches_have_no_influence_and_those_of_others_have():
    model = small_beit(out_type='raw', with_mask_token=True, use_abs_pos_emb=True).eval()
    images, mask = images_and_mask()
    assert 0 < mask.sum() < mask.numel()
    pixels = mask.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, None].expand_as(images)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(5))
    output = model(images, mask)[0]
    assert model(torch.where(pixels, noise, images), mask)[0].equal(output)
    for b, y, x in (~mask).nonzero().tolist():
        changed = images.clone()
        changed[b, :, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8] += 1
        difference = (model(changed, mask)[0] - output).abs().amax((1, 2))
        assert difference[b] > 1e-3
        assert difference[1 - b] == 0


def test_masked_places_hold_the_mask_token_before_positions_are_added():
    model = small_beit(out_type='raw', with_mask_token=True, use_abs_pos_emb=True)
    images, mask = images_and_mask()
    embedded = model.embed(images, mask)
    weight, bias = model.patch_embed.proj.weight, model.patch_embed.proj.bias
    for b, y, x in np.ndindex(2, *GRID):
        place = 1 + y * GRID[1] + x
        patch = images[b, :, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8]
        token = weight.flatten(1) @ patch.flatten() + bias
        expected = model.mask_token[0, 0] if mask[b, y, x] else token
        expected = expected + model.pos_embed[0, place]
        torch.testing.assert_close(embedded[b, place], expected, rtol=1e-5, atol=1e-5)
    expected = (model.cls_token + model.pos_embed[:, :1])[:, 0].expand(2, -1)
    torch.testing.assert_close(embedded[:, 0], expected, rtol=0, atol=0)


def test_masks_of_another_shape_or_dtype_are_refused():
    model = small_beit(out_type='raw', with_mask_token=True)
    images, mask = images_and_mask()
    for wrong in (mask[:1], mask.transpose(1, 2), mask[:, :3], mask.flatten(1), mask[0]):
        with pytest.raises(ValueError, match=r'mask has shape .* 4 x 6 patches'):
            model(images, wrong)
    for dtype in (torch.int64, torch.float32, torch.uint8):
        with pytest.raises(ValueError, match=r'torch\.bool'):
            model(images, mask.to(dtype))


def test_a_mask_without_a_mask_token_is_refused():
    images, mask = images_and_mask()
    with pytest.raises(ValueError, match='with_mask_token'):
        small_beit(out_type='raw')(images, mask)


# --- refused settings and inputs --------------------------------------------------------------


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(arch='huge-not'), r'huge-not.*tiny, small, base, large'),
        (dict(arch=dict(embed_dims=48, num_heads=4)), r'feedforward_channels, num_layers'),
        (dict(arch={**ARCH, 'num_heads': 5}), r'48.*5'),
        (dict(out_type='mean'), r"'mean'.*raw, cls_token, featmap, avg_featmap"),
        (dict(out_indices=3), r'no block 3 among 3'),
        (dict(out_indices=(0, -4)), r'no block -4 among 3'),
        (dict(use_rel_pos_bias=True, use_shared_rel_pos_bias=True), 'exclude'),
        (dict(frozen_stages=4), r'frozen_stages 4 is not in -1\.\.3'),
        (dict(frozen_stages=-2), r'frozen_stages -2 is not in -1\.\.3'),
        (dict(img_size=36), r'36 x 36.*8 x 8'),
        (dict(img_size=(32, 44)), r'32 x 44.*8 x 8'),
        (dict(img_size=0), r'0 x 0'),
    ],
)
def test_settings_that_make_no_sense_are_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        BEiT(**{**small_settings(), **changes})


@pytest.mark.parametrize('size', [(33, 48), (32, 50), (4, 48), (0, 48), (64, 0)])
@pytest.mark.parametrize('positions', POSITIONS)
def test_images_that_do_not_divide_into_patches_are_refused(positions, size):
    model = small_beit(**POSITIONS[positions])
    message = rf'{size[0]} x {size[1]} pixels.*8 x 8.*pad_size_divisor.*size_divisor'
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(1, 3, *size))


# --- images of other sizes --------------------------------------------------------------------

WITH_POSITIONS = {
    **{name: settings for name, settings in POSITIONS.items() if name != 'none'},
    'table a block and absolute': dict(use_rel_pos_bias=True, use_abs_pos_emb=True),
    'shared table and absolute': dict(
        use_rel_pos_bias=False, use_shared_rel_pos_bias=True, use_abs_pos_emb=True
    ),
}
# Larger, smaller, the same number of patches in another shape, one row, one axis unchanged.
OTHER_SIZES = [(64, 80), (16, 24), (48, 32), (8, 40), (32, 72)]


@pytest.mark.parametrize('positions', WITH_POSITIONS)
@pytest.mark.parametrize('training', [False, True])
def test_another_size_gives_what_a_model_made_for_it_gives(positions, training):
    model = small_beit(out_type='featmap', **WITH_POSITIONS[positions]).train(training)
    for size in OTHER_SIZES:
        settings = small_settings(out_type='featmap', **WITH_POSITIONS[positions])
        made_for_it = BEiT(**{**settings, 'img_size': size}).train(training)
        made_for_it.load_state_dict(model.state_dict())
        assert made_for_it.patch_grid.tolist() == [size[0] // 8, size[1] // 8]
        images, _ = images_and_mask(size=size)
        output, expected = model(images)[0], made_for_it(images)[0]
        assert output.shape == (2, 48, size[0] // 8, size[1] // 8)
        torch.testing.assert_close(output, expected, rtol=1e-6, atol=1e-6)
        # Nor does it give what a model without positions gives.
        without = small_beit(out_type='featmap', **POSITIONS['none'])
        without.load_state_dict(model.state_dict(), strict=False)
        assert (without(images)[0] - output).abs().max() > 1e-2
    # Its own size is not touched by all that.
    images, _ = images_and_mask()
    untouched = small_beit(out_type='featmap', **WITH_POSITIONS[positions])
    assert model(images)[0].equal(untouched(images)[0])


@pytest.mark.parametrize('positions', WITH_POSITIONS)
def test_another_size_trains_the_positions_through_their_resampling(positions):
    # Resampling is linear: a change d of the weights moves the loss by <gradient, d>, and so does
    # the resampled change in a model made for the size.
    size = (48, 40)
    settings = small_settings(out_type='raw', **WITH_POSITIONS[positions])
    model = randomize(BEiT(**settings)).train()
    made_for_it = BEiT(**{**settings, 'img_size': size}).train()
    resampled_change = BEiT(**{**settings, 'img_size': size})
    change = randomize(BEiT(**settings), seed=9)
    made_for_it.load_state_dict(model.state_dict())
    resampled_change.load_state_dict(change.state_dict())
    images, _ = images_and_mask(size=size)
    weights = torch.randn(2, 31, 48, generator=torch.Generator().manual_seed(3))
    for each in (model, made_for_it):
        (each(images)[0] * weights).sum().backward()
    changes, resampled = (dict(m.named_parameters()) for m in (change, resampled_change))
    expected = {
        name: (p.grad * resampled[name]).sum() for name, p in made_for_it.named_parameters()
    }
    checked = 0
    for name, parameter in model.named_parameters():
        slope = (parameter.grad * changes[name]).sum()
        scale = (parameter.grad * changes[name]).abs().sum()
        assert scale > 0, name
        assert abs(slope - expected[name]) < 1e-4 * scale, name
        checked += name.endswith('table') or name == 'pos_embed'
    assert checked == sum('table' in name or name == 'pos_embed' for name in model.state_dict()) > 0


@pytest.mark.parametrize('positions', WITH_POSITIONS)
@pytest.mark.parametrize('size', [(48, 80), (16, 24)])
def test_a_mirrored_model_gives_mirrored_features(positions, size):
    # Exchanging x and y in the weights and the image must exchange them in the output: no mix-up
    # of the axes, neither of the images nor of the resampled positions, survives that.
    settings = dict(out_type='featmap', **WITH_POSITIONS[positions])
    model = small_beit(**settings)
    mirrored = BEiT(**{**small_settings(**settings), 'img_size': SIZE[::-1]})
    weights = model.state_dict()
    weights['patch_grid'] = torch.tensor(GRID[::-1])
    for name, tensor in weights.items():
        if name == 'patch_embed.proj.weight':
            weights[name] = tensor.transpose(2, 3)
        elif name.endswith('table'):
            offsets = tensor[:-3].unflatten(0, (7, 11)).transpose(0, 1).flatten(0, 1)
            weights[name] = torch.cat([offsets, tensor[-3:]])
        elif name == 'pos_embed':
            patches = tensor[:, 1:].unflatten(1, GRID).transpose(1, 2).flatten(1, 2)
            weights[name] = torch.cat([tensor[:, :1], patches], dim=1)
    mirrored.load_state_dict(weights)
    images, _ = images_and_mask(size=size)
    output = mirrored(images.transpose(2, 3))[0].transpose(2, 3)
    torch.testing.assert_close(output, model(images)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('size', [(64, 80), (16, 24), (32, 72)])
def test_absolute_positions_are_resampled_bicubically(size):
    model = small_beit(**POSITIONS['absolute'])
    images, _ = images_and_mask(size=size)
    grid = size[0] // 8, size[1] // 8
    given = model.embed(images)
    model.pos_embed, positions = None, model.pos_embed
    resampled = given - model.embed(images)
    picture = positions[:, 1:].permute(0, 2, 1).reshape(1, 48, *GRID)
    picture = nn.functional.interpolate(picture, grid, mode='bicubic', align_corners=False)
    for y, x in np.ndindex(*grid):
        expected = picture[0, :, y, x].expand(2, -1)
        place = resampled[:, 1 + y * grid[1] + x]
        torch.testing.assert_close(place, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(resampled[:, 0], positions[:, 0].expand(2, -1), rtol=0, atol=1e-6)


@pytest.mark.parametrize('positions', WITH_POSITIONS)
def test_evaluation_at_a_size_seen_before_uses_the_weights_of_now(positions):
    model = small_beit(**WITH_POSITIONS[positions]).eval()
    images, _ = images_and_mask(size=(64, 24))

    def assert_as_new():
        new = small_beit(**WITH_POSITIONS[positions]).eval()
        new.load_state_dict(model.state_dict())
        with torch.no_grad():
            output = model(images)[0]
            assert output.equal(model(images)[0])
            assert output.equal(new(images)[0])
        return output

    outputs = [assert_as_new()]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(images)[0].sum().backward()
    optimizer.step()
    outputs.append(assert_as_new())
    model.load_state_dict(small_beit(seed=3, **WITH_POSITIONS[positions]).state_dict())
    outputs.append(assert_as_new())
    for parameter in model.parameters():
        parameter.data.mul_(0.5)
    model.eval()
    outputs.append(assert_as_new())
    for before, after in itertools.pairwise(outputs):
        assert (before - after).abs().max() > 1e-3


def test_absolute_positions_are_resampled_once_a_size_in_evaluation(monkeypatch):
    calls = []

    def counted(positions, source, target):
        calls.append((source, target))
        return resize_absolute_positions(positions, source, target)

    monkeypatch.setattr(positions_module, 'resize_absolute_positions', counted)
    model = small_beit(**POSITIONS['absolute']).eval()
    small, large = (images_and_mask(size=size)[0] for size in ((16, 16), (48, 48)))
    with torch.no_grad():
        for images in (small, large, small, large, images_and_mask()[0]):
            model(images)
    assert calls == [(GRID, (2, 2)), (GRID, (6, 6))]
    for _ in range(2):
        model(small)[0].sum().backward()
    assert len(calls) == 4


@pytest.mark.parametrize('positions', WITH_POSITIONS)
def test_training_goes_on_at_a_size_that_inference_mode_saw_first(positions):
    model = small_beit(**WITH_POSITIONS[positions]).eval()
    images, _ = images_and_mask(size=(104, 16))
    with torch.inference_mode():
        expected = model(images)[0].clone()
    for training in (False, True):
        output = model.train(training)(images)[0]
        torch.testing.assert_close(output, expected, rtol=1e-6, atol=1e-6)
        output.sum().backward()


def test_pretraining_with_a_mask_works_at_another_size():
    settings = dict(out_type='raw', with_mask_token=True, **POSITIONS['shared table'])
    model = small_beit(**settings)
    images, mask = images_and_mask(size=(48, 72))
    made_for_it = BEiT(**{**small_settings(**settings), 'img_size': (48, 72)})
    made_for_it.load_state_dict(model.state_dict())
    output = model(images, mask)[0]
    torch.testing.assert_close(output, made_for_it(images, mask)[0], rtol=1e-6, atol=1e-6)
    pixels = mask.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, None]
    assert model(torch.where(pixels, 3.0, images), mask)[0].equal(output)
    with pytest.raises(ValueError, match=r'mask has shape \(2, 4, 6\).* 6 x 9 patches'):
        model(images, images_and_mask()[1])


def test_recomputing_blocks_works_at_another_size():
    gradients = []
    for with_cp in (False, True):
        model = small_beit(with_cp=with_cp).train()
        model(images_and_mask(size=(48, 16))[0])[0].square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-6, atol=1e-5, msg=name)


@pytest.mark.parametrize(
    ('positions', 'training'),
    [('table a block', True), ('table a block', False), ('shared table and absolute', False)],
)
def test_compiled_it_gives_the_same_over_a_sequence_of_sizes(positions, training):
    # One block of each kind says all, and compiles in a third of the time.
    arch = {**ARCH, 'num_layers': 1}
    settings = {**small_settings(**WITH_POSITIONS[positions]), 'arch': arch}
    model = randomize(BEiT(**settings)).train(training)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend='aot_eager')
    for size in [SIZE, (64, 80), (16, 24), SIZE]:
        images, _ = images_and_mask(size=size)
        results = []
        for run in (model, compiled):
            model.zero_grad()
            with torch.set_grad_enabled(training):
                output = run(images)[0]
            if training:
                output.square().sum().backward()
            gradients = {n: p.grad.clone() for n, p in model.named_parameters() if training}
            results.append((output.detach(), gradients))
        torch.testing.assert_close(results[1][0], results[0][0], rtol=1e-5, atol=1e-5)
        for name, gradient in results[0][1].items():
            other = results[1][1][name]
            torch.testing.assert_close(other, gradient, rtol=1e-4, atol=1e-4, msg=name)
    torch._dynamo.reset()


# --- layer-wise decay -------------------------------------------------------------------------


@pytest.mark.parametrize('positions', POSITIONS)
@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_layer_depths_are_mmpretrains(positions, prefix):
    settings = small_settings(final_norm=True, **POSITIONS[positions])
    ours, peer = BEiT(**settings), BEiTViT(**settings)
    for name, _ in ours.named_parameters():
        depth = ours.get_layer_depth(prefix + name, prefix)
        assert depth == peer.get_layer_depth(prefix + name_in_mmpretrain(name), prefix), name


def test_what_is_outside_the_backbone_is_deepest():
    ours, peer = small_beit(), BEiTViT(**small_settings())
    # Some are named like parts of the backbone, without its prefix.
    for name in ('head.fc.weight', 'decode_head.blocks.0.weight', 'cls_token', 'patch_embed.bias'):
        assert ours.get_layer_depth(name, 'backbone.') == (4, 5), name
        assert peer.get_layer_depth(name, 'backbone.') == (4, 5), name


def test_the_mask_token_is_an_embedding():
    # MMPretrain calls it deepest; the authors' code (get_num_layer_for_vit) says 0.
    assert small_beit().get_layer_depth('backbone.mask_token', 'backbone.') == (0, 5)


# --- loading ----------------------------------------------------------------------------------


def save_pretraining(path, prefix='backbone.'):
    backbone = small_beit(
        seed=7,
        out_type='raw',
        final_norm=True,
        with_mask_token=True,
        **POSITIONS['shared table'],
    )
    weights = {prefix + name: tensor for name, tensor in backbone.state_dict().items()}
    if prefix:
        weights['head.classifier.weight'] = torch.zeros(3, 48)
    torch.save(dict(state_dict=weights, meta=dict(epoch=1)), path)
    return backbone.state_dict()


@pytest.mark.parametrize('prefix', ['backbone.', ''])
@pytest.mark.parametrize('by_config', [False, True])
def test_pretraining_weights_give_every_block_a_copy_of_the_shared_table(
    tmp_path, prefix, by_config
):
    path = str(tmp_path / 'mim.pth')
    saved = save_pretraining(path, prefix)
    if by_config:
        init_cfg = dict(type='Pretrained', checkpoint=path)
        model = randomize(BEiT(**small_settings(init_cfg=init_cfg)))
        model.init_weights()
    else:
        model = small_beit()
        model.load_pretrained(path)
    fc_norm = small_beit().fc_norm.state_dict()
    for name, tensor in model.state_dict().items():
        if name.endswith('.attn.rel_pos_bias.table'):
            assert tensor.equal(saved['rel_pos_bias.table']), name
        elif name.startswith('fc_norm.'):
            # The file has none, so it keeps what it had.
            assert tensor.equal(fc_norm[name.removeprefix('fc_norm.')])
        else:
            assert tensor.equal(saved[name]), name
    tables = [block.attn.rel_pos_bias.table for block in model.blocks]
    assert len({table.data_ptr() for table in tables}) == 3


def test_pretraining_weights_load_into_pretraining_unchanged(tmp_path):
    path = str(tmp_path / 'mim.pth')
    saved = save_pretraining(path)
    model = small_beit(
        out_type='raw', final_norm=True, with_mask_token=True, **POSITIONS['shared table']
    )
    model.load_pretrained(path)
    assert model.state_dict().keys() == saved.keys()
    for name, tensor in model.state_dict().items():
        assert tensor.equal(saved[name]), name


def test_a_blocks_own_table_and_the_shared_one_add_up():
    model = small_beit()
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    shared = torch.full_like(own['blocks.0.attn.rel_pos_bias.table'], 9.0)
    del own['blocks.1.attn.rel_pos_bias.table']
    given = {**own, 'rel_pos_bias.table': shared}
    model.load_state_dict(given)
    assert 'rel_pos_bias.table' in given
    assert model.blocks[1].attn.rel_pos_bias.table.equal(shared)
    for index in (0, 2):
        table = model.blocks[index].attn.rel_pos_bias.table
        assert table.equal(own[f'blocks.{index}.attn.rel_pos_bias.table'] + shared)


def test_the_shared_table_is_copied_within_a_larger_model_too():
    shared = small_beit(seed=7, **POSITIONS['shared table'])
    model = nn.ModuleDict(dict(backbone=small_beit(), teacher=small_beit()))
    weights = {f'backbone.{name}': tensor for name, tensor in shared.state_dict().items()}
    untouched = model['teacher'].blocks[0].attn.rel_pos_bias.table.clone()
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert all(name.startswith('teacher.') for name in missing)
    assert not unexpected
    for block in model['backbone'].blocks:
        assert block.attn.rel_pos_bias.table.equal(shared.rel_pos_bias.table)
    assert model['teacher'].blocks[0].attn.rel_pos_bias.table.equal(untouched)


@pytest.mark.parametrize('by_config', [False, True])
def test_a_file_of_which_nothing_matches_is_refused_by_name(tmp_path, by_config):
    path = str(tmp_path / 'resnet.pth')
    torch.save(dict(state_dict={'backbone.layer1.0.conv1.weight': torch.zeros(3)}), path)
    model = BEiT(**small_settings(init_cfg=dict(type='Pretrained', checkpoint=path)))
    with pytest.raises(ValueError, match=r'resnet\.pth'):
        model.init_weights() if by_config else model.load_pretrained(path)


@pytest.mark.parametrize('in_a_list', [False, True])
def test_init_cfg_reads_the_checkpoint_without_running_its_code(tmp_path, in_a_list):
    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'ran'),)

    path = str(tmp_path / 'hostile.pth')
    torch.save(dict(state_dict={'cls_token': torch.zeros(1, 1, 48)}, meta=Hostile()), path)
    init_cfg = dict(type='Pretrained', checkpoint=path)
    model = BEiT(**small_settings(init_cfg=[init_cfg] if in_a_list else init_cfg))
    with pytest.raises(CheckpointError, match='mkdir'):
        model.init_weights()
    assert not (tmp_path / 'ran').exists()


# --- registries and the frameworks around -----------------------------------------------------


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmseg', 'mmengine'])
def test_configs_build_it_from_any_default_scope(scope):
    with DefaultScope.overwrite_default_scope(scope):
        model = MODELS.build(dict(type='beit_mm.BEiT', **small_settings()))
    assert type(model) is BEiT
    assert model.num_layers == 3


def run_python(code, *arguments):
    """Run code in a fresh interpreter, where nothing of this process has been imported."""
    result = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


CLASSIFIER = """
custom_imports = dict(imports=['beit_mm'])
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='beit_mm.BEiT',
        arch=dict(embed_dims=48, num_layers=3, num_heads=4, feedforward_channels=96),
        img_size=32,
        patch_size=8,
        init_cfg=dict(type='Pretrained', checkpoint='{checkpoint}'),
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=5,
        in_channels=48,
        loss=dict(type='CrossEntropyLoss'),
    ),
)
"""
SEGMENTOR = """
custom_imports = dict(imports=['beit_mm'])
default_scope = 'mmseg'
model = dict(
    type='EncoderDecoder',
    backbone=dict(
        type='beit_mm.BEiT',
        arch=dict(embed_dims=48, num_layers=3, num_heads=4, feedforward_channels=96),
        img_size=32,
        patch_size=8,
        out_type='featmap',
        out_indices=(0, 1, 2),
        init_cfg=dict(type='Pretrained', checkpoint='{checkpoint}'),
    ),
    decode_head=dict(
        type='FCNHead',
        input_transform='resize_concat',
        in_channels=[48, 48, 48],
        in_index=[0, 1, 2],
        channels=16,
        num_convs=1,
        num_classes=5,
        norm_cfg=dict(type='BN'),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
"""
TRAIN_ONE_STEP = """
    import sys
    import torch
    from mmengine.config import Config
    from mmengine.registry import MODELS, DefaultScope, init_default_scope

    config = Config.fromfile(sys.argv[1])
    init_default_scope(config.default_scope)
    model = MODELS.build(config.model)
    model.init_weights()
    assert model.backbone.cls_token.eq(0.125).all()

    images = torch.randn(2, 3, 32, 32)
    if config.default_scope == 'mmpretrain':
        from mmpretrain.structures import DataSample
        samples = [DataSample().set_gt_label(label) for label in (1, 4)]
    else:
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample
        truth = torch.arange(1024).reshape(1, 32, 32) % 5
        samples = [SegDataSample(gt_sem_seg=PixelData(data=truth)) for _ in range(2)]
    losses = model(images, samples, mode='loss')
    loss = sum(value.sum() for name, value in losses.items() if 'loss' in name)
    assert torch.isfinite(loss) and loss > 0
    loss.backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None]
    assert not silent, silent
    print(type(model).__module__, type(model.backbone).__module__)
"""


@pytest.mark.parametrize(
    ('config', 'module'),
    [
        (CLASSIFIER, 'mmpretrain.models.classifiers.image'),
        (SEGMENTOR, 'mmseg.models.segmentors.encoder_decoder'),
    ],
)
def test_custom_imports_alone_put_it_into_another_projects_model(tmp_path, config, module):
    checkpoint = tmp_path / 'backbone.pth'
    (tmp_path / 'config.py').write_text(config.format(checkpoint=checkpoint), encoding='utf-8')
    backbone = MODELS.build(Config.fromfile(tmp_path / 'config.py').model.backbone)
    weights = backbone.state_dict(prefix='backbone.')
    weights['backbone.cls_token'].fill_(0.125)
    torch.save(weights, checkpoint)
    output = run_python(TRAIN_ONE_STEP, tmp_path / 'config.py')
    assert output.split()[-2:] == [module, 'beit_mm.models.beit']


@pytest.mark.parametrize('missing', [['mmpretrain'], ['mmseg'], ['mmpretrain', 'mmseg']])
def test_the_package_works_where_other_openmmlab_packages_are_missing(missing):
    output = run_python(
        """
        import sys

        class Blocker:
            @staticmethod
            def find_spec(name, path=None, target=None):
                if name.split('.')[0] in sys.argv[1:]:
                    raise ModuleNotFoundError(f'No module named {name!r}', name=name)

        sys.meta_path.insert(0, Blocker)
        import torch
        import beit_mm
        from mmengine.registry import MODELS
        from mmengine.structures import BaseDataElement

        arch = dict(embed_dims=48, num_layers=3, num_heads=4, feedforward_channels=96)
        backbone = dict(type='beit_mm.BEiT', arch=arch, img_size=32, patch_size=8)
        tokenizer = dict(type='beit_mm.DiscreteVAE', vocab_size=16, hidden=4, decoder_input=4)
        features = MODELS.build(backbone)(torch.zeros(1, 3, 32, 32))
        assert features[0].shape == (1, 48)
        images = MODELS.build(tokenizer).decode(torch.zeros(1, 2, 2, dtype=torch.long))
        assert images.shape == (1, 3, 16, 16)
        model = MODELS.build(dict(
            type='beit_mm.MaskedImageModeling',
            backbone=dict(**backbone, out_type='raw', with_mask_token=True),
            target_generator=dict(type='beit_mm.DVAETargetGenerator', tokenizer=tokenizer),
            head=dict(type='beit_mm.MIMHead', embed_dims=48, vocab_size=16),
        ))
        views = [torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)]
        samples = [BaseDataElement(mask=torch.eye(4, dtype=torch.bool)) for _ in range(2)]
        model(views, samples, mode='loss')['loss'].backward()
        assert not [name for name in sys.argv[1:] if name in sys.modules]
        print('works')
        """,
        *missing,
    )
    assert output.split()[-1] == 'works'


# --- faster forms of the blocks -----------------------------------------------------------------


def outputs_and_gradients(model, images, mask):
    torch.manual_seed(3)
    output = model(images, mask)[0]
    model.zero_grad()
    (
        output * torch.randn(output.shape, generator=torch.Generator().manual_seed(2))
    ).sum().backward()
    return [output.detach(), *(p.grad for p in model.parameters())]


class Compiler:
    """torch.compile without its code generator, which takes a minute; refuses broken graphs."""

    def __init__(self, backend='aot_eager'):
        self.backend, self.graphs, self.methods = backend, 0, {}

    def __call__(self, method):
        if method not in self.methods:
            self.methods[method] = torch.compile(method, backend=self._count, fullgraph=True)
        return self.methods[method]

    def _count(self, graph, inputs):
        self.graphs += 1
        return torch._dynamo.lookup_backend(self.backend)(graph, inputs)


needs_compiler = pytest.mark.skipif(
    not can_compile(), reason='blocks are not compiled before PyTorch 2.5'
)
PRE_TRAINING = dict(
    out_type='raw', with_mask_token=True, use_rel_pos_bias=False, use_shared_rel_pos_bias=True
)


@pytest.mark.parametrize(
    'settings',
    [
        dict(PRE_TRAINING, drop_path_rate=0.5),
        dict(with_mask_token=True, out_type='featmap'),
        dict(PRE_TRAINING, drop_path_rate=0.5, skip_dropped=True),
        dict(PRE_TRAINING, with_cp=True),
    ],
    ids=['shared table', 'table a block', 'skip', 'recompute'],
)
@needs_compiler
def test_compiled_blocks_compute_the_same(monkeypatch, settings):
    torch._dynamo.reset()
    compiler = Compiler()
    monkeypatch.setattr(compiling, 'compiled', compiler)
    plain, fast = small_beit(**settings), small_beit(**settings, compile_blocks=True)
    images, mask = images_and_mask(batch=8)
    for model in (plain, fast):
        model.train()
    for size in (images.shape[-2:], (40, 72)):
        images = torch.randn(8, 3, *size, generator=torch.Generator().manual_seed(4))
        mask = torch.rand(8, size[0] // 8, size[1] // 8) < 0.4
        results = [outputs_and_gradients(model, images, mask) for model in (plain, fast)]
        for expected, ours in zip(*results, strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    assert list(compiler.methods) == [Block.add_branches]
    assert compiler.graphs > 0


@needs_compiler
def test_one_compilation_serves_all_blocks(monkeypatch):
    torch._dynamo.reset()
    compiler = Compiler('eager')
    monkeypatch.setattr(compiling, 'compiled', compiler)
    arch = {**ARCH, 'num_layers': 6}
    model = BEiT(**{**small_settings(**PRE_TRAINING, drop_path_rate=0.5), 'arch': arch})
    for block in model.blocks:
        block.compile_branches = True
    model.train()(*images_and_mask(batch=8))
    # The first block drops nothing; the others are alike.
    assert compiler.graphs == 2


@needs_compiler
def test_blocks_that_skip_different_numbers_of_images_share_a_compilation(monkeypatch):
    torch._dynamo.reset()
    compiler = Compiler('eager')
    monkeypatch.setattr(compiling, 'compiled', compiler)
    settings = small_settings(**PRE_TRAINING, drop_path_rate=0.5, skip_dropped=True)
    model = BEiT(**{**settings, 'arch': {**ARCH, 'num_layers': 6}}, compile_blocks=True).train()
    kept = [len(block.drop_path(torch.zeros(16)).indices) for block in model.blocks[1:]]
    assert len(set(kept)) == 5
    # As in PyTorch 2.5; after eight compilations it gives up.
    with torch._dynamo.config.patch(specialize_float=True):
        model(*images_and_mask(batch=16))
    # Of the first block, of one number, and of any.
    assert compiler.graphs == 3


def test_a_compiled_model_is_copied_and_saved_as_any_other(tmp_path):
    model = small_beit(compile_blocks=True)
    plain = small_beit()
    assert model.state_dict().keys() == plain.state_dict().keys()
    copied = copy.deepcopy(model)
    torch.save(model, tmp_path / 'model.pth')
    assert copied.state_dict().keys() == plain.state_dict().keys()


@needs_compiler
def test_the_compilers_own_code_computes_the_same():
    if shutil.which('g++') is None:
        pytest.skip('torch.compile needs a C++ compiler on the CPU')
    torch._dynamo.reset()
    settings = {**small_settings(**PRE_TRAINING), 'arch': {**ARCH, 'num_layers': 1}}
    plain = randomize(BEiT(**settings)).eval()
    fast = BEiT(**settings, compile_blocks=True).eval()
    fast.load_state_dict(plain.state_dict())
    images, mask = images_and_mask()
    with torch.no_grad():
        expected, ours = plain(images, mask)[0], fast(images, mask)[0]
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_skipping_dropped_images_computes_fewer_of_them():
    model = small_beit(**PRE_TRAINING, drop_path_rate=0.5, skip_dropped=True).train()
    sizes = []
    for block in model.blocks:
        block.mlp.register_forward_hook(lambda m, inputs, output: sizes.append(len(inputs[0])))
    rates = [block.drop_path.drop_prob for block in model.blocks]
    outputs_and_gradients(model, *images_and_mask(batch=8))
    assert sizes == [round(8 * (1 - rate)) for rate in rates]
    assert sizes[-1] == 4


def test_skipping_leaves_the_mean_output_as_it_is():
    # One branch that is linear in its output: its mean over draws is the branch itself.
    torch.manual_seed(0)
    block = randomize(Block(48, 4, 96, 0.5, 0.1, None, skip_dropped=True)).train()
    with torch.no_grad():
        block.gamma_2.zero_()
        x = torch.randn(8, 5, 48)
        mean = torch.stack([block(x, None, None) for _ in range(1000)]).mean(0) - x
        branch = block.eval()(x, None, None) - x
    # Each draw weighs an image's branch 0 or 2: the standard error is 1 / sqrt(1000).
    assert ((mean - branch).flatten(1).norm(dim=1) < 0.16 * branch.flatten(1).norm(dim=1)).all()
