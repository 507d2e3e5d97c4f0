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
