"""The hybrid: timm's numbers by its weights, read and written, in each of the trunk's uses."""

import json

import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

import beit_mm
from beit_mm.checkpoints import CheckpointError, convert_state_dict, detect_layout
from beit_mm.layers.standardized_conv import StandardizedConv, plain_standardized, standardized
from beit_mm.models import BEiT, HybridStem, VisionTransformer, convert
from beit_mm.models.fitting import fit_model

ARCH = dict(embed_dims=48, num_layers=2, num_heads=4, feedforward_channels=96)
# timm's name, and the pixels that a patch covers.
RELEASED = {
    'vit_tiny_r_s16_p8_224': 32,
    'vit_small_r26_s32_224': 32,
    'vit_base_r50_s16_224': 16,
    'vit_large_r50_s32_224': 32,
}


def hybrid(**settings):
    settings = dict(arch=ARCH, img_size=64, patch_size=16, positions='learned', **settings)
    return VisionTransformer(stem=dict(type='beit_mm.HybridStem', stages=(1, 2)), **settings)


def other_scales(model, seed=0):
    """Norms and biases that are not 1 and 0, which would hide what they do."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def small_timm(name, **settings):
    """A hybrid of timm's with its own stem and a small Transformer."""
    settings = dict(embed_dim=48, depth=2, num_heads=4, mlp_ratio=2, num_classes=5, **settings)
    torch.manual_seed(0)
    return other_scales(timm.create_model(name, img_size=64, **settings))


@pytest.fixture
def heads_are_known(monkeypatch):
    from beit_mm.models.sizes import ARCHS

    monkeypatch.setitem(ARCHS, 'of these tests', ARCH)


known = pytest.mark.usefixtures('heads_are_known')


SLOW = ('vit_small_r26_s32_224', 'vit_large_r50_s32_224')


@known
@pytest.mark.parametrize(
    'name', [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in RELEASED]
)
@torch.no_grad()
def test_timms_hybrids_in_and_out(name, tmp_path):
    peer = small_timm(name)
    torch.save(peer.state_dict(), tmp_path / 'peer.pth')
    own = beit_mm.load(tmp_path / 'peer.pth', out_type='cls_token')
    assert own.patch_size == (RELEASED[name],) * 2
    assert own.grid == (64 // RELEASED[name],) * 2
    images = torch.randn(2, 3, 64, 64)
    expected = peer.forward_head(peer.forward_features(images), pre_logits=True)
    assert expected.std() > 0.5
    torch.testing.assert_close(own(images)[0], expected, rtol=1e-5, atol=1e-5)

    ours = convert_state_dict(peer.state_dict(), 'beit_mm')
    back = convert_state_dict(ours, 'timm')
    assert [detect_layout(ours), detect_layout(back)] == ['beit_mm', 'timm']
    assert set(back) == set(peer.state_dict())
    assert all(torch.equal(back[n], tensor) for n, tensor in peer.state_dict().items())

    torch.save(ours, tmp_path / 'ours.pth')
    convert(tmp_path / 'ours.pth', tmp_path / 'folder', 'timm')
    assert json.loads((tmp_path / 'folder/config.json').read_text())['architecture'] == name
    again = timm.create_model(f'local-dir:{tmp_path / "folder"}', pretrained=True).eval()
    torch.testing.assert_close(again(images), peer(images), rtol=1e-5, atol=1e-5)


@known
@torch.no_grad()
def test_a_bare_hybrid_of_timms_and_another_size():
    peer = small_timm('vit_base_r50_s16_224')
    bare = {n: t for n, t in peer.state_dict().items() if not n.startswith('head.')}
    assert detect_layout(bare) == 'timm'
    own = hybrid(out_type='featmap').eval()
    with pytest.raises(CheckpointError, match='another'):
        beit_mm.models.fitting.fit_model(own, '', bare, 'bare')
    whole = VisionTransformer(
        ARCH, img_size=(64, 96), positions='learned', out_type='raw', final_norm=True,
        stem=dict(type='beit_mm.HybridStem'),
    ).eval()  # fmt: skip
    whole.load_state_dict(bare, strict=False)
    images = torch.randn(1, 3, 64, 64)
    # At the size of the weights the positions come back from (4, 6): within their resampling.
    torch.testing.assert_close(whole.patch_embed(images), peer.patch_embed(images))
    assert whole(images)[0].shape == (1, 17, 48)
    assert whole(torch.randn(1, 3, 32, 96))[0].shape == (1, 13, 48)


def test_a_plain_network_refuses_the_weights_of_a_hybrid_and_others_have_no_place_for_it():
    weights = hybrid().state_dict()
    plain = VisionTransformer(ARCH, img_size=64, positions='learned')
    with pytest.raises(CheckpointError, match=r'patch_embed'):
        beit_mm.models.fitting.fit_model(plain, '', weights, 'hybrid')
    with pytest.raises(CheckpointError, match=r'patch_embed'):
        beit_mm.models.fitting.fit_model(hybrid(), '', plain.state_dict(), 'plain')
    for library in ('huggingface', 'mmpretrain'):
        with pytest.raises(CheckpointError, match=r'has no place for patch_embed\.'):
            convert_state_dict(weights, library)


# --- the convolution --------------------------------------------------------------------------


def test_standardised_weights_and_their_gradient_are_the_formulas():
    weight = torch.randn(6, 5, 3, 3, dtype=torch.float64, requires_grad=True)
    towards = torch.randn_like(weight)
    (expected,) = torch.autograd.grad((plain_standardized(weight) * towards).sum(), weight)
    (gradient,) = torch.autograd.grad((standardized(weight) * towards).sum(), weight)
    torch.testing.assert_close(standardized(weight), plain_standardized(weight))
    torch.testing.assert_close(gradient, expected)


@torch.no_grad()
def test_evaluation_standardises_once_and_sees_new_weights(monkeypatch):
    calls = []

    def counted(weight):
        calls.append(weight)
        return plain_standardized(weight)

    monkeypatch.setattr('beit_mm.layers.standardized_conv.standardized', counted)
    conv, images = StandardizedConv(3, 4, kernel_size=3, stride=2).eval(), torch.randn(1, 3, 8, 8)
    first = conv(images)
    assert torch.equal(conv(images), first)
    assert len(calls) == 1
    conv.weight.mul_(-1)
    torch.testing.assert_close(conv(images), -first)
    assert len(calls) == 2
    with torch.enable_grad():
        conv(images).sum().backward()
    assert conv.weight.grad is not None


def test_initial_values_are_the_releases():
    stem = HybridStem((2, 1))
    weight = stem.stages[0][1].conv2.weight
    assert weight.std().item() == pytest.approx((64 * 9) ** -0.5, rel=0.02)
    assert weight.abs().max() <= 2 * (64 * 9) ** -0.5 / 0.8796
    # Blocks begin as their shortcut.
    x = stem.root(torch.randn(1, 3, 32, 32))
    torch.testing.assert_close(stem.stages[0](x), F.relu(stem.stages[0][0].shortcut(x)))
    # Whatever the trunk does with its own convolutions.
    for kind in (VisionTransformer, BEiT):
        torch.manual_seed(0)
        trunk = kind(ARCH, img_size=32, stem=dict(type='beit_mm.HybridStem', stages=(1,)))
        conv = trunk.patch_embed.stem.stages[0][0].conv2
        assert conv.weight.std().item() == pytest.approx((64 * 9) ** -0.5, rel=0.02)


# --- in the trunk -----------------------------------------------------------------------------


def test_masks_frozen_stages_depths_and_feature_maps():
    model = hybrid(out_type='featmap', with_mask_token=True, frozen_stages=1)
    mask = torch.zeros(2, 4, 4, dtype=torch.bool)
    mask[:, 0] = True
    features = model(torch.randn(2, 3, 64, 64), mask)[0]
    assert features.shape == (2, 48, 4, 4)
    features.sum().backward()
    moved = [name for name, p in model.named_parameters() if p.grad is not None]
    assert {name[:9] for name in moved} == {'blocks.1.', 'norm.weig', 'norm.bias'}
    assert not model.train().patch_embed.stem.training
    depth = model.get_layer_depth('backbone.patch_embed.stem.root.conv.weight', 'backbone.')
    assert depth == (0, 4)


@torch.no_grad()
def test_bands_of_a_hybrid_are_fitted():
    """The kernels of three bands twice over: group norm takes away that there are twice as many."""
    three, six = other_scales(hybrid()), hybrid(in_channels=6).eval()
    six.load_state_dict(three.state_dict())
    images = torch.randn(2, 3, 64, 64)
    twice = six(torch.cat([images, images], dim=1))[0]
    torch.testing.assert_close(twice, three(images)[0], rtol=1e-4, atol=1e-4)
    grey = hybrid(in_channels=1)
    grey.load_state_dict(three.state_dict())
    of_three, of_grey = three.patch_embed.input.weight, grey.patch_embed.input.weight
    torch.testing.assert_close(of_grey, of_three.sum(dim=1, keepdim=True))


@pytest.mark.parametrize(
    ('stages', 'patch', 'message'),
    [
        ((3, 4, 9), 8, "multiple of the stem's stride, 16"),
        ((1, 1, 1, 1, 1), 64, 'at most four stages'),
        ((0,), 16, 'numbers of blocks'),
    ],
)
def test_what_cannot_be_is_said(stages, patch, message):
    stem = dict(type='beit_mm.HybridStem', stages=stages)
    with pytest.raises(ValueError, match=message):
        VisionTransformer(ARCH, img_size=64, patch_size=patch, stem=stem)


def test_a_config_is_checked():
    from beit_mm.component import Component, Plan
    from beit_mm.registry import MODELS

    given = dict(
        type='VisionTransformer', img_size=64, patch_size=8,
        stem=dict(type='HybridStem', stages=(3, 4, 9)),
    )  # fmt: skip
    component = Component('model.backbone', given, MODELS.get)
    (said,) = VisionTransformer.check_config(component, Plan(False, {}))
    assert "patch_size is 8 x 8 pixels; it must be a multiple of the stem's stride, 16" in said


@pytest.mark.parametrize('kind', ['MaskedImageModeling', 'MaskedPatchPrediction'])
def test_what_is_hidden_must_not_pass_through_a_stem(kind):
    from beit_mm.component import Component, Plan
    from beit_mm.registry import MODELS

    # Why: tokens of seen places follow hidden pixels.
    model = other_scales(hybrid(with_mask_token=True))
    x = torch.randn(1, 3, 64, 64)
    changed = x.clone()
    changed[..., :16, :16] += 1
    with torch.no_grad():
        difference = (model.patch_embed(x) - model.patch_embed(changed)).abs().amax(dim=2)
    assert (difference > 0).all()

    backbone = dict(
        type='VisionTransformer', arch=ARCH, img_size=64, patch_size=16, out_type='raw',
        with_mask_token=True, stem=dict(type='HybridStem', stages=(1, 1)),
    )  # fmt: skip
    given = dict(
        type=kind, backbone=backbone,
        target_generator=dict(type='PixelTargetGenerator', patch_size=16),
        head=dict(type='PixelHead', embed_dims=48, num_values=768),
    )  # fmt: skip
    said = 'model.backbone has a stem, whose features at seen places tell of hidden pixels'
    with pytest.raises(ValueError, match=said):
        MODELS.build(given)
    component = Component('model', given, MODELS.get)
    assert any(
        each.startswith(said) for each in MODELS.get(kind).check_config(component, Plan(False, {}))
    )


@torch.no_grad()
@pytest.mark.parametrize('kind', [VisionTransformer, BEiT])
def test_a_classifier_goes_on_with_the_stem(kind):
    """By the settings that ``beit-mm finetune`` takes from weights."""
    from beit_mm.commands.starting_weights import _network_of
    from beit_mm.registry import MODELS

    space = dict(arch=ARCH, img_size=64, patch_size=16)
    model = other_scales(kind(stem=dict(type='beit_mm.HybridStem', stages=(1, 2)), **space))
    again = MODELS.build(dict(_network_of(model), out_type='avg_featmap', **space)).eval()
    again.load_state_dict(fit_model(again, '', model.state_dict(), 'file'), strict=False)
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(again(x)[0], model(x)[0])


@torch.no_grad()
def test_a_hybrid_is_exported_for_any_size():
    model = other_scales(hybrid(out_type='featmap'))
    images = torch.randn(2, 3, 64, 64)
    expected = model(images)[0]

    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, images):
            return self.model(images)[0]

    program = torch.export.export(Bare(), (images,)).module()
    torch.testing.assert_close(program(images), expected)
