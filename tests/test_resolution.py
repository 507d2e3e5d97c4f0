"""The paper's steps to a higher resolution, and what other sizes do to a trained model."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import ConfigDict
from mmengine.optim import OptimWrapper
from mmengine.structures import PixelData
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from mmpretrain.structures import DataSample
from mmseg.registry import MODELS as MMSEG_MODELS
from mmseg.structures import SegDataSample
from sklearn.datasets import load_digits
from torch import nn

from beit_mm.models import BEiT

ARCH = dict(embed_dims=48, num_layers=4, num_heads=4, feedforward_channels=96)
NORM = dict(mean=[127.5] * 3, std=[127.5] * 3)


@pytest.fixture(scope='module')
def pretrained(tmp_path_factory):
    """Weights as pre-training at 224 leaves them: a shared table, e_M, the last norm."""
    torch.manual_seed(0)
    backbone = BEiT(
        ARCH,
        out_type='raw',
        use_rel_pos_bias=False,
        use_shared_rel_pos_bias=True,
        final_norm=True,
        with_mask_token=True,
    )
    with torch.no_grad():
        backbone.rel_pos_bias.table.normal_()
    weights = {f'backbone.{name}': tensor for name, tensor in backbone.state_dict().items()}
    weights['head.classifier.weight'] = torch.randn(32, 48)
    path = tmp_path_factory.mktemp('pretrained') / 'epoch_800.pth'
    torch.save(dict(state_dict=weights), path)
    return path


def classifier(size, checkpoint):
    return MMPRETRAIN_MODELS.build(
        dict(
            # Whatever scope an earlier test has left behind.
            _scope_='mmpretrain',
            type='ImageClassifier',
            backbone=dict(
                type='beit_mm.BEiT',
                arch=ARCH,
                img_size=size,
                init_cfg=dict(type='Pretrained', checkpoint=str(checkpoint)),
            ),
            head=dict(type='LinearClsHead', num_classes=5, in_channels=48),
            data_preprocessor=dict(num_classes=5, **NORM),
        )
    )


def segmenter(size, checkpoint):
    return MMSEG_MODELS.build(
        dict(
            _scope_='mmseg',
            type='EncoderDecoder',
            data_preprocessor=dict(type='SegDataPreProcessor', size=(size, size), **NORM),
            backbone=dict(
                type='beit_mm.BEiT',
                arch=ARCH,
                img_size=size,
                out_type='featmap',
                out_indices=(1, 3),
                init_cfg=dict(type='Pretrained', checkpoint=str(checkpoint)),
            ),
            decode_head=dict(
                type='FCNHead',
                in_channels=48,
                in_index=1,
                channels=16,
                num_convs=1,
                num_classes=5,
                norm_cfg=dict(type='BN'),
                loss_decode=dict(type='CrossEntropyLoss'),
            ),
            test_cfg=ConfigDict(mode='whole'),
        )
    )


def samples(model, size):
    rng = np.random.default_rng(0)
    images = [torch.from_numpy(rng.integers(0, 256, (3, size, size), dtype=np.uint8)) for _ in 'ab']
    if hasattr(model, 'decode_head'):
        labels = [SegDataSample() for _ in images]
        for label in labels:
            label.gt_sem_seg = PixelData(data=torch.randint(0, 5, (1, size, size)))
            label.set_metainfo(dict(img_shape=(size, size), ori_shape=(size, size)))
    else:
        labels = [DataSample().set_gt_label(index) for index in range(2)]
    return dict(inputs=images, data_samples=labels)


@pytest.mark.parametrize(('build', 'size'), [(classifier, 384), (segmenter, 512)])
def test_weights_of_224_load_train_a_step_and_evaluate_at(build, size, pretrained):
    torch.manual_seed(0)
    model = build(size, pretrained)
    model.init_weights()
    first, last = (model.backbone.blocks[index].attn.rel_pos_bias.table for index in (0, -1))
    rows = (2 * size // 16 - 1) ** 2 + 3
    assert first.shape == (rows, 4)
    assert first.equal(last)
    stored = torch.load(pretrained)['state_dict']['backbone.rel_pos_bias.table']
    # The middle of a table, where offsets are zero, and the rows of [S] do not move.
    assert first[-3:].equal(stored[-3:])
    torch.testing.assert_close(first[(rows - 4) // 2], stored[(len(stored) - 4) // 2])

    before = first.detach().clone()
    wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-3))
    losses = model.train().train_step(samples(model, size), wrapper)
    assert torch.isfinite(losses['loss'])
    assert not first.equal(before)

    with torch.no_grad():
        results = model.eval().test_step(samples(model, size))
    if build is segmenter:
        assert all(result.pred_sem_seg.data.shape == (1, size, size) for result in results)
        assert all(result.seg_logits.data.isfinite().all() for result in results)
    else:
        torch.testing.assert_close(
            torch.stack([result.pred_score.sum() for result in results]).cpu(), torch.ones(2)
        )


@pytest.mark.parametrize('size', [(256, 256), (224, 320), (96, 160)])
def test_a_model_of_224_answers_other_sizes(pretrained, size):
    model = classifier(224, pretrained)
    model.init_weights()
    model.eval()
    scores = model(torch.randn(2, 3, *size), mode='tensor')
    assert scores.shape == (2, 5)
    assert scores.isfinite().all()


@pytest.mark.parametrize('absolute', [False, True])
def test_the_loss_of_a_trained_model_changes_smoothly_with_size(absolute):
    """The quickstart's digits, trained on crops at 32 pixels, asked at sizes from 24 to 64."""
    pictures, labels = load_digits(return_X_y=True)
    pictures = torch.from_numpy(pictures).float().view(-1, 1, 8, 8) / 8 - 1
    pictures = F.interpolate(pictures, size=32, mode='bicubic')
    labels = torch.from_numpy(labels)
    torch.manual_seed(0)
    backbone = BEiT(
        dict(embed_dims=48, num_layers=2, num_heads=4, feedforward_channels=96),
        img_size=32,
        patch_size=4,
        in_channels=1,
        use_abs_pos_emb=absolute,
        layer_scale_init_value=1.0,
    )
    head = nn.Linear(48, 10)
    # So few steps take larger first weights than the paper's.
    for module in backbone.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            nn.init.xavier_uniform_(module.weight.flatten(1))

    def loss_at(size, images, index):
        images = F.interpolate(images, size=size, mode='bicubic')
        return F.cross_entropy(head(backbone(images)[0]), labels[index])

    train, held_out = torch.randperm(len(labels)).split([1400, len(labels) - 1400])
    optimizer = torch.optim.AdamW([*backbone.parameters(), *head.parameters()], lr=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=220)
    for _ in range(220):
        index = train[torch.randint(len(train), (64,))]
        crop = int(torch.randint(20, 33, ()))
        top, left = torch.randint(0, 33 - crop, (2,)).tolist()
        images = pictures[index, :, top : top + crop, left : left + crop]
        optimizer.zero_grad()
        loss_at(32, images, index).backward()
        optimizer.step()
        schedule.step()

    backbone.eval()
    with torch.no_grad():
        losses = [loss_at(size, pictures[held_out], held_out).item() for size in range(24, 65, 4)]
        if absolute:
            # What it costs if the positions at the new size are not those that were learned.
            backbone.pos_embed.copy_(backbone.pos_embed[:, torch.randperm(65)])
            shuffled = loss_at(48, pictures[held_out], held_out).item()
            assert losses[6] < shuffled / 2
    best = losses[2]
    # It has learned: chance is log(10).
    assert best < np.log(10) / 2
    assert best < min(losses) + 0.05
    # From 32 pixels to 64, a step of one patch is never a jump, and twice the size costs less
    # than half of what chance would.
    steps = np.diff(losses[2:])
    assert steps.max() < 0.25, losses
    assert losses[-1] < best + np.log(10) / 2, losses
    assert losses[1] < best + 0.5, losses
