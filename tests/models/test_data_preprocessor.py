"""Against MMPretrain's preprocessor, and on tokens in place of the second view."""

import pytest
import torch
from mmengine.structures import BaseDataElement

from beit_mm.models import TwoViewDataPreprocessor

NORMS = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375],
             second_mean=[0.0, 10.0, 0.0], second_std=[255.0, 255.0, 100.0])  # fmt: skip


@pytest.fixture
def views():
    torch.manual_seed(0)
    sizes = (2, 3, 32, 48), (2, 3, 16, 24)
    return [torch.randint(0, 256, size, dtype=torch.uint8) for size in sizes]


def test_views_are_normalised_as_by_mmpretrain(views):
    peers = pytest.importorskip('mmpretrain.models')
    from mmpretrain.structures import DataSample

    samples = [DataSample(metainfo=dict(number=number)) for number in range(2)]
    peer = peers.TwoNormDataPreprocessor(**NORMS)(dict(inputs=views, data_samples=samples))
    ours = TwoViewDataPreprocessor(**NORMS)(dict(inputs=views, data_samples=samples))
    for view, expected in zip(ours['inputs'], peer['inputs'], strict=True):
        assert torch.equal(view, expected)
    assert [sample.number for sample in ours['data_samples']] == [0, 1]


def test_tokens_pass_as_they_are(views):
    tokens = torch.arange(2 * 4 * 6).view(2, 4, 6)
    data = TwoViewDataPreprocessor(**NORMS)(dict(inputs=[views[0], tokens]))
    assert torch.equal(data['inputs'][1], tokens)
    assert data['inputs'][0].dtype == torch.float32
    assert data['data_samples'] is None


def test_masks_go_to_the_device_in_one_piece_and_samples_stay(views):
    samples = [BaseDataElement(mask=torch.rand(4, 6) < 0.4) for _ in range(2)]
    # A device without memory: what is on it was moved.
    moved = TwoViewDataPreprocessor(**NORMS).to('meta')(dict(inputs=views, data_samples=samples))
    assert {view.device.type for view in (*moved['inputs'], moved['mask'])} == {'meta'}
    assert all(sample.mask.device.type == 'cpu' for sample in moved['data_samples'])
    data = TwoViewDataPreprocessor(**NORMS)(dict(inputs=views, data_samples=samples))
    assert data['mask'].dtype == torch.bool
    for mask, sample in zip(data['mask'], samples, strict=True):
        assert torch.equal(mask, sample.mask)


def test_nothing_of_it_is_saved_in_checkpoints():
    assert not TwoViewDataPreprocessor(**NORMS).state_dict()


@pytest.mark.parametrize('view', [0, 1])
def test_bands_without_a_mean_of_their_own_are_refused(views, view):
    """One band and three means would silently make three bands."""
    views[view] = views[view][:, :1]
    name = ('mean', 'second_mean')[view]
    with pytest.raises(ValueError, match=f'data_preprocessor.{name} has 3 numbers.* of 1 bands'):
        TwoViewDataPreprocessor(**NORMS)(dict(inputs=views))


@pytest.mark.parametrize('bands', [1, 3, 4])
def test_segmentation_normalises_each_band_and_turns_round_three_alone(bands):
    peers = pytest.importorskip('mmseg.models')
    from beit_mm.models import SegDataPreProcessor

    mean, std = list(range(1, bands + 1)), list(range(2, bands + 2))
    settings = dict(bgr_to_rgb=True, pad_val=0, seg_pad_val=255, test_cfg=dict(size_divisor=8))
    images = [torch.randint(0, 256, (bands, 10, 12), dtype=torch.uint8) for _ in range(2)]
    samples = [_Sample() for _ in images]
    data = dict(inputs=images, data_samples=samples)
    ours = SegDataPreProcessor(mean, std, **settings)(data)['inputs']
    order = [2, 1, 0] if bands == 3 else list(range(bands))
    expected = torch.stack(images).float()[:, order]
    expected = (expected - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
    assert ours.shape == (2, bands, 16, 16)
    torch.testing.assert_close(ours[..., :10, :12], expected)
    assert not ours[..., 10:, :].any()
    if bands != 4:
        peer = peers.SegDataPreProcessor(mean, std, **settings)(data)['inputs']
        assert ours.equal(peer)
    with pytest.raises(ValueError, match='as many numbers, or both None'):
        SegDataPreProcessor(mean, None)


class _Sample:
    def set_metainfo(self, info):
        """What padding says."""
