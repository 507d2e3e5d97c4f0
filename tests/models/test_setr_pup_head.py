"""SETRPUPHead against MMSegmentation's SETRUPHead, and its steps against their closed forms."""

import subprocess
import sys

import pytest
import torch
from mmengine.registry import DefaultScope
from mmseg.models.decode_heads import SETRUPHead
from mmseg.registry import MODELS
from torch.nn import functional as F

from beit_mm.models import SETRPUPHead


@pytest.fixture(autouse=True)
def mmsegs_scope():
    """Whatever scope another test has left."""
    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


def randomize(head, seed=0):
    """Every weight and running statistic counts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in head.state_dict().items():
            if tensor.is_floating_point():
                tensor.normal_(std=0.3, generator=generator)
                if name.endswith('running_var'):
                    tensor.abs_().add_(0.5)
    return head


def features(channels=24, grid=(3, 5)):
    """Two maps, of which the heads shall use the second, not of mean 0 in a patch."""
    generator = torch.Generator().manual_seed(1)
    return tuple(3 + torch.randn(2, channels, *grid, generator=generator) for _ in range(2))


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('align_corners', [False, True])
def test_bilinear_form_equals_mmsegmentations_head_set_to_pup(training, align_corners):
    shared = dict(
        in_channels=24,
        channels=256,
        num_classes=7,
        in_index=1,
        dropout_ratio=0,
        norm_cfg=dict(type='BN'),
        align_corners=align_corners,
    )
    peer = randomize(SETRUPHead(num_convs=4, up_scale=2, kernel_size=3, **shared))
    ours = SETRPUPHead(patch_size=16, **shared)
    ours.load_state_dict(peer.state_dict())
    peer.train(training)
    ours.train(training)
    expected = peer(features())
    assert expected.shape == (2, 7, 3 * 16, 5 * 16)
    # Logits of the order of 1, so that the tolerance means something.
    scale = expected.std()
    torch.testing.assert_close(ours(features()) / scale, expected / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize('upsample', ['bilinear', 'deconv'])
@pytest.mark.parametrize('patch_size', [2, 8, 14, 16, 32])
def test_logits_have_the_resolution_of_the_image(upsample, patch_size):
    head = SETRPUPHead(24, 8, num_classes=5, in_index=1, patch_size=patch_size, upsample=upsample)
    assert head.up_convs[0][0].conv.in_channels == 24
    assert head(features()).shape == (2, 5, 3 * patch_size, 5 * patch_size)


@pytest.mark.parametrize('align_corners', [False, True])
def test_a_patch_that_is_no_power_of_two_is_reached_from_the_next_below(align_corners):
    shared = dict(
        in_channels=24, channels=8, num_classes=5, in_index=1, align_corners=align_corners
    )
    small, ours = (SETRPUPHead(patch_size=size, **shared).eval() for size in (8, 14))
    ours.load_state_dict(randomize(small).state_dict())
    expected = F.interpolate(
        small(features()), (3 * 14, 5 * 14), mode='bilinear', align_corners=align_corners
    )
    torch.testing.assert_close(ours(features()), expected)


def test_deconvolutions_can_learn_bilinear_upsampling():
    head = SETRPUPHead(
        1, 1, num_classes=1, threshold=0.5, dropout_ratio=0, patch_size=2, upsample='deconv',
        norm_cfg=None, act_cfg=None,
    )  # fmt: skip
    tent = torch.tensor([0.25, 0.75, 0.75, 0.25])
    with torch.no_grad():
        head.up_convs[0][0].conv.weight[0, 0] = tent[:, None] * tent
        head.up_convs[0][0].conv.bias.zero_()
        x = torch.randn(2, 1, 6, 9, generator=torch.Generator().manual_seed(0))
        doubled = F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False)
        # At the border the one pads with the nearest pixel, the other with zeros.
        inner = (..., slice(1, -1), slice(1, -1))
        torch.testing.assert_close(head.up_convs(x)[inner], doubled[inner])


def test_every_weight_gets_a_gradient():
    for upsample in ('bilinear', 'deconv'):
        head = SETRPUPHead(
            24, 8, num_classes=5, in_index=1, upsample=upsample, norm_cfg=dict(type='BN')
        )
        head.init_weights()
        head(features()).square().mean().backward()
        for name, parameter in head.named_parameters():
            assert parameter.grad is not None, name
            # A norm follows each convolution and takes its constant away.
            assert parameter.grad.abs().max() > 0, name


def test_builds_from_any_scope_and_refuses_what_cannot_work():
    settings = dict(type='beit_mm.SETRPUPHead', in_channels=24, num_classes=5)
    head = MODELS.build(settings)
    assert isinstance(head, SETRPUPHead)
    assert head.channels == 256
    for patch_size in (14.0, 1, 0, (16, 16)):
        with pytest.raises(ValueError, match='it must be a whole number from 2'):
            MODELS.build(dict(settings, patch_size=patch_size))
    with pytest.raises(ValueError, match='none of bilinear, deconv'):
        MODELS.build(dict(settings, upsample='nearest'))


def test_without_mmsegmentation_the_package_imports_and_the_head_says_what_to_install():
    code = """
import sys
sys.modules['mmseg'] = None
import beit_mm
from beit_mm.models import BEiT
from beit_mm.registry import MODELS
for ask in (lambda: MODELS.build(dict(type='SETRPUPHead', in_channels=4, num_classes=3)),
            lambda: beit_mm.models.SETRPUPHead):
    try:
        ask()
    except ImportError as error:
        assert 'pip install onedl-mmsegmentation' in str(error), error
    else:
        raise AssertionError('nothing was raised')
"""
    subprocess.run([sys.executable, '-c', code], check=True)
