"""Every kind of training on images of one band, of four, and of thirteen at 12 bits."""

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample

from beit_mm.checkpoints.writing import write_weights
from beit_mm.engine import TokenizerMetric
from beit_mm.models import load
from beit_mm.models.painter import painter_of
from beit_mm.visualization import filled_in, panel_of

NAMES = {1: ['grey'], 4: ['red', 'green', 'blue', 'nir'], 13: [f'b{n}' for n in range(13)]}
ARCH = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)
SIZE, CLASSES, IMAGES = 32, 2, 16
TOKENIZER = dict(vocab_size=16, hidden=8, num_groups=3, blocks_per_group=1, decoder_input=8)


def data_set(bands):
    """Images in [0, 255], as pipelines give them; one class is bright on the left, one all over.

    Of 13 bands in float32, as 12 bits come, else uint8. Also a label for each pixel.
    """
    generator = torch.Generator().manual_seed(bands)
    images = 90 * torch.rand(IMAGES, bands, SIZE, SIZE, generator=generator)
    labels = torch.arange(IMAGES) % CLASSES
    pixels = torch.zeros(IMAGES, SIZE, SIZE, dtype=torch.int64)
    pixels[labels == 0, :, : SIZE // 2] = 1
    pixels[labels == 1] = 1
    images += 120 * pixels[:, None] * torch.linspace(0.5, 1, bands)[:, None, None]
    return (images if bands == 13 else images.to(torch.uint8)), labels, pixels


def train(model, batch, steps, rate=3e-3):
    """Loss before and after some steps on a batch; every one of them finite."""
    torch.manual_seed(0)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        data = model.data_preprocessor(batch, True)
        loss, logged = model.parse_losses(model(**data, mode='loss'))
        assert all(torch.isfinite(value).all() for value in logged.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return np.mean(losses[:3]), np.mean(losses[-3:])


def build(settings):
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(settings)


def tokenizer(bands, quantizer):
    preprocessor = dict(type='SelfSupDataPreprocessor', mean=[0], std=[255])
    model = dict(
        type='beit_mm.DiscreteVAE', in_channels=bands, bands=NAMES[bands], quantizer=quantizer,
        data_preprocessor=preprocessor, **TOKENIZER,
    )  # fmt: skip
    return build(model)


def backbone(bands, **changes):
    settings = dict(
        type='beit_mm.BEiT', arch=ARCH, img_size=SIZE, patch_size=4, in_channels=bands,
        bands=NAMES[bands],
    )  # fmt: skip
    return {**settings, **changes}


@pytest.mark.parametrize('quantizer', ['gumbel', 'vector'])
@pytest.mark.parametrize('bands', [1, 4, 13])
def test_a_tokenizer_learns_them_and_is_measured(bands, quantizer):
    model = tokenizer(bands, quantizer)
    images, _, _ = data_set(bands)
    batch = dict(inputs=images, data_samples=[DataSample()] * IMAGES)
    first, last = train(model, batch, 25)
    assert last < first
    metric = TokenizerMetric()
    model.eval()
    with torch.no_grad():
        metric.process(batch, [sample.to_dict() for sample in model.val_step(batch)])
    report = metric.evaluate(IMAGES)
    assert 0 < report['tokenizer/recon_mse'] < 0.2
    # The mean patch, of all bands, by another way than the metric's.
    means = (images.float() / 255).unflatten(3, (8, 4)).unflatten(2, (8, 4))
    fitted, held_out = means[::2].mean(dim=(0, 2, 4)), means[1::2]
    expected = (held_out - fitted[None, :, None, :, None]).square().mean()
    assert report['tokenizer/mean_mse'] == pytest.approx(float(expected), rel=1e-4)


TARGETS = {
    'tokens': lambda bands: (
        dict(type='beit_mm.DVAETargetGenerator', checkpoint=None,
             tokenizer=dict(type='beit_mm.DiscreteVAE', in_channels=bands, **TOKENIZER)),
        dict(type='beit_mm.MIMHead', vocab_size=16)),
    'pixels': lambda bands: (
        dict(type='beit_mm.PixelTargetGenerator', patch_size=4, in_channels=bands),
        dict(type='beit_mm.PixelHead', num_values=16 * bands)),
    'normalised pixels': lambda bands: (
        dict(type='beit_mm.PixelTargetGenerator', patch_size=4, in_channels=bands, normalize=True),
        dict(type='beit_mm.PixelHead', num_values=16 * bands)),
    'mean colours': lambda bands: (
        dict(type='beit_mm.MeanColorTargetGenerator', patch_size=4, in_channels=bands, levels=2),
        dict(type='beit_mm.MIMHead', vocab_size=2**bands)),
    'cached': lambda bands: (
        dict(type='beit_mm.CachedTargetGenerator', vocab_size=16),
        dict(type='beit_mm.MIMHead', vocab_size=16)),
}  # fmt: skip


def pretraining(bands, targets):
    generator, head = TARGETS[targets](bands)
    settings = dict(
        type='beit_mm.MaskedImageModeling',
        backbone=backbone(
            bands, out_type='raw', final_norm=True, with_mask_token=True, use_rel_pos_bias=False,
            use_shared_rel_pos_bias=True,
        ),
        target_generator=generator, head=dict(head, embed_dims=32),
        data_preprocessor=dict(
            type='beit_mm.TwoViewDataPreprocessor', mean=[110.0] * bands, std=[50.0] * bands,
            second_mean=[0.0] * bands, second_std=[255.0] * bands,
        ),
    )  # fmt: skip
    return build(settings)


@pytest.mark.parametrize('targets', list(TARGETS))
@pytest.mark.parametrize('bands', [1, 4, 13])
def test_a_pretraining_learns_them_whatever_its_targets(bands, targets):
    model = pretraining(bands, targets)
    images, _, _ = data_set(bands)
    masks = torch.rand(IMAGES, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.4
    second = images
    if targets == 'cached':
        second = (images.float().mean(dim=1)[:, ::4, ::4] / 16).long().clamp(max=15)
    samples = []
    for mask in masks:
        samples.append(DataSample())
        samples[-1].set_field(mask, 'mask')
    batch = dict(inputs=[images, second], data_samples=samples)
    first, last = train(model, batch, 25)
    assert last < first
    model.eval()
    with torch.no_grad():
        outputs = model.val_step(batch)
    predicted = torch.stack([output.predicted for output in outputs])
    stacked = torch.stack([output.targets for output in outputs])
    painter = painter_of(model.target_generator)
    photos = images.float() / 255
    rows = filled_in(photos, photos, masks, stacked, predicted, painter)
    assert all(pictures.shape[:2] == (IMAGES, bands) for pictures in rows.values())
    assert panel_of({k: v[:2] for k, v in rows.items()}, bands=NAMES[bands]).shape[2] == 3


@pytest.mark.parametrize('bands', [1, 4, 13])
def test_a_classifier_and_a_segmentor_learn_them_from_a_pretraining(bands, tmp_path):
    images, labels, pixels = data_set(bands)
    path = str(tmp_path / 'pretrained.pth')
    write_weights(tmp_path / 'pretrained.pth', pretraining(bands, 'pixels').state_dict(), 'beit_mm')
    assert load(path).bands == tuple(NAMES[bands])
    pretrained = dict(type='Pretrained', checkpoint=path)
    norm = dict(mean=[110.0] * bands, std=[50.0] * bands)

    classifier = build(
        dict(
            type='ImageClassifier',
            backbone=backbone(bands, init_cfg=pretrained),
            head=dict(type='LinearClsHead', num_classes=CLASSES, in_channels=32),
            data_preprocessor=dict(norm, to_rgb=True),
        )
    )
    classifier.init_weights()
    samples = [DataSample().set_gt_label(int(label)) for label in labels]
    first, last = train(classifier, dict(inputs=images, data_samples=samples), 40, rate=1e-2)
    assert last < first / 2
    classifier.eval()
    with torch.no_grad():
        found = classifier.val_step(dict(inputs=images, data_samples=samples))
    assert sum(int(s.pred_label) == int(s.gt_label) for s in found) > 12

    settings = dict(
        type='EncoderDecoder',
        data_preprocessor=dict(
            type='beit_mm.SegDataPreProcessor', **norm, bgr_to_rgb=True, pad_val=0, seg_pad_val=255,
            size=(SIZE, SIZE),
        ),
        backbone=backbone(
            bands, init_cfg=pretrained, out_type='featmap', out_indices=(0, 1)
        ),
        decode_head=dict(
            type='beit_mm.SETRPUPHead', in_channels=32, in_index=1, channels=8, num_classes=2,
            patch_size=4, norm_cfg=dict(type='BN'),
        ),
        train_cfg=dict(), test_cfg=dict(mode='whole'),
    )  # fmt: skip
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        segmentor = MODELS.build(ConfigDict(settings))
    segmentor.init_weights()
    samples = []
    for truth in pixels:
        samples.append(SegDataSample(metainfo=dict(img_shape=(SIZE, SIZE), ori_shape=(SIZE, SIZE))))
        samples[-1].gt_sem_seg = PixelData(data=truth[None])
    first, last = train(segmentor, dict(inputs=list(images), data_samples=samples), 25)
    assert last < first
    segmentor.eval()
    with torch.no_grad():
        found = segmentor.val_step(dict(inputs=list(images), data_samples=samples))
    assert found[0].pred_sem_seg.data.shape == (1, SIZE, SIZE)
