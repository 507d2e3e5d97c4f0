"""UPerNet over the four depths of BEiT: end to end as MMSegmentation's own, from its weights."""

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from mmseg.registry import MODELS

from beit_mm.checkpoints import convert_state_dict

WIDTH, CLASSES, SIZE = 48, 9, (64, 96)
NORM = dict(type='BN')


def upernet(backbone: dict) -> torch.nn.Module:
    """The model of MMSegmentation's BEiT configs, narrower."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(
            dict(
                type='EncoderDecoder',
                backbone=backbone,
                neck=dict(
                    type='Feature2Pyramid', embed_dim=WIDTH, rescales=[4, 2, 1, 0.5], norm_cfg=NORM
                ),
                decode_head=dict(
                    type='UPerHead',
                    in_channels=[WIDTH] * 4,
                    in_index=[0, 1, 2, 3],
                    pool_scales=(1, 2, 3, 6),
                    channels=WIDTH,
                    num_classes=CLASSES,
                    norm_cfg=NORM,
                ),
                auxiliary_head=dict(
                    type='FCNHead',
                    in_channels=WIDTH,
                    in_index=2,
                    channels=16,
                    num_convs=1,
                    concat_input=False,
                    num_classes=CLASSES,
                    norm_cfg=NORM,
                ),
                test_cfg=ConfigDict(mode='whole'),
            )
        )
    # MMSegmentation's backbones return nothing here.
    model.eval()
    return model


def peers_backbone(depth: int = 12) -> dict:
    return dict(
        type='BEiT',
        img_size=SIZE,
        patch_size=16,
        embed_dims=WIDTH,
        num_layers=depth,
        num_heads=4,
        mlp_ratio=2,
        out_indices=(3, 5, 7, 11),
        qv_bias=True,
        norm_cfg=dict(type='LN', eps=1e-6),
        init_values=0.1,
    )


def our_backbone() -> dict:
    return dict(
        type='beit_mm.BEiT',
        arch=dict(embed_dims=WIDTH, num_layers=12, num_heads=4, feedforward_channels=2 * WIDTH),
        img_size=SIZE,
        out_type='featmap',
        out_indices=(3, 5, 7, 11),
    )


def randomize(model, seed):
    """Every weight and running statistic counts, and the maps neither vanish nor explode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if not tensor.is_floating_point():
                continue
            fan_in = tensor[0].numel() if tensor.ndim > 1 else 25
            tensor.normal_(std=fan_in**-0.5, generator=generator)
            if name.endswith(('weight', 'gamma_1', 'gamma_2')) and tensor.ndim == 1:
                tensor.add_(1)
            elif name.endswith('running_var'):
                tensor.abs_().add_(0.5)
            elif name.endswith('table'):
                tensor.mul_(3)
    return model


@pytest.fixture(scope='module')
def pair():
    """MMSegmentation's model, and ours with its weights."""
    peer = randomize(upernet(peers_backbone()), seed=0)
    ours = upernet(our_backbone())
    converted = convert_state_dict(peer.state_dict(), to='beit_mm')
    assert not any(ours.load_state_dict(converted))
    return peer, ours


def images():
    return torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def test_the_pyramid_has_strides_4_8_16_32_and_is_mmsegmentations(pair):
    peer, ours = pair
    maps = ours.extract_feat(images())
    assert [tuple(m.shape[1:]) for m in maps] == [
        (WIDTH, SIZE[0] // stride, SIZE[1] // stride) for stride in (4, 8, 16, 32)
    ]
    depths, theirs = ours.backbone(images()), peer.backbone(images())
    for own, other in zip(depths, theirs, strict=True):
        torch.testing.assert_close(own / other.std(), other / other.std(), rtol=0, atol=1e-5)
    # The released code, written out: two deconvolutions with norm and GELU between, one, none,
    # and the largest of four.
    ops = ours.neck
    first, norm, _, second = ops.upsample_4x
    deconv = torch.nn.functional.conv_transpose2d
    expected = [
        deconv(
            torch.nn.functional.gelu(norm(deconv(depths[0], first.weight, first.bias, stride=2))),
            second.weight, second.bias, stride=2,
        ),
        deconv(depths[1], ops.upsample_2x[0].weight, ops.upsample_2x[0].bias, stride=2),
        depths[2],
        depths[3].unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).amax(dim=(3, 5)),
    ]  # fmt: skip
    for own, other in zip(maps, expected, strict=True):
        torch.testing.assert_close(own, other)


@torch.no_grad()
def test_logits_are_mmsegmentations_end_to_end(pair):
    peer, ours = pair
    for head in ('decode_head', 'auxiliary_head'):
        expected = getattr(peer, head)(peer.extract_feat(images()))
        own = getattr(ours, head)(ours.extract_feat(images()))
        assert 0.1 < expected.std() < 20
        torch.testing.assert_close(own, expected, rtol=0, atol=1e-4)
    whole = [model.predict(images()) for model in (ours, peer)]
    for own, other in zip(*whole, strict=True):
        assert own.seg_logits.shape == SIZE
        torch.testing.assert_close(own.seg_logits.data, other.seg_logits.data, rtol=0, atol=1e-4)


@torch.no_grad()
def test_our_weights_go_back_to_mmsegmentation(pair):
    peer, ours = pair
    other = randomize(upernet(peers_backbone()), seed=1)
    assert not torch.allclose(other(images()), peer(images()), atol=1e-2)
    other.load_state_dict(convert_state_dict(ours.state_dict(), to='mmseg'))
    assert torch.equal(other(images()), peer(images()))
