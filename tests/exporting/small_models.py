"""Small configs of every task, checkpoints of random weights for them, and a photo."""

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from PIL import Image
from torch import nn

ARCH = dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48)
# Unlike for every channel, so that a wrong order or scale shows.
MEAN, STD = [120.0, 110.0, 80.0], [40.0, 60.0, 90.0]
SIZE, CLASSES = 64, ('cat', 'dog', 'owl')


def classifier(load: dict | None = None, to_rgb: bool = True) -> Config:
    """Of three classes; its pipeline takes photos of the right size as they are."""
    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(
                type='ImageClassifier',
                backbone=dict(type='beit_mm.BEiT', arch=ARCH, img_size=SIZE),
                head=dict(type='LinearClsHead', num_classes=3, in_channels=24),
                data_preprocessor=dict(mean=MEAN, std=STD, to_rgb=to_rgb, num_classes=3),
            ),
            test_dataloader=dict(
                dataset=dict(
                    type='CustomDataset',
                    pipeline=[load or dict(type='LoadImageFromFile'), dict(type='PackInputs')],
                )
            ),
        )
    )


def segmentor(head: str = 'SETRPUPHead') -> Config:
    """Of three classes, by one of the two task layers."""
    norm = dict(type='SyncBN', requires_grad=True)
    common = dict(channels=8, num_classes=3, norm_cfg=norm, dropout_ratio=0.1)
    neck = dict(type='Feature2Pyramid', embed_dim=24, rescales=[4, 2, 1, 0.5], norm_cfg=norm)
    # The pyramid has four levels.
    indices = (0, 1, 2, 3) if head == 'UPerHead' else (0, 1)
    heads = dict(
        SETRPUPHead=dict(type='beit_mm.SETRPUPHead', in_channels=24, in_index=1),
        UPerHead=dict(type='UPerHead', in_channels=[24] * 4, in_index=indices),
    )
    arch = {**ARCH, 'num_layers': len(indices)}
    return Config(
        dict(
            default_scope='mmseg',
            model=dict(
                type='EncoderDecoder',
                data_preprocessor=dict(
                    type='SegDataPreProcessor', mean=MEAN, std=STD, bgr_to_rgb=True, pad_val=0,
                    seg_pad_val=255, test_cfg=dict(size_divisor=16),
                ),
                backbone=dict(
                    type='beit_mm.BEiT', arch=arch, img_size=SIZE, out_type='featmap',
                    out_indices=indices,
                ),
                neck=neck if head == 'UPerHead' else None,
                decode_head={**common, **heads[head]},
                auxiliary_head=dict(type='FCNHead', in_channels=24, in_index=1, **common),
                train_cfg=dict(),
                test_cfg=dict(mode='whole'),
            ),
            visualizer=dict(type='SegLocalVisualizer', name='visualizer'),
            test_dataloader=dict(
                dataset=dict(
                    type='BaseSegDataset',
                    metainfo=dict(classes=CLASSES),
                    pipeline=[dict(type='LoadImageFromFile'), dict(type='PackSegInputs')],
                )
            ),
        )
    )  # fmt: skip


def pretraining() -> Config:
    """BEiT's task with a tokenizer that is nowhere to be found: an export does not need it."""
    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(
                type='beit_mm.MaskedImageModeling',
                backbone=dict(
                    type='beit_mm.BEiT', arch=ARCH, img_size=SIZE, out_type='raw',
                    use_rel_pos_bias=False, use_shared_rel_pos_bias=True, final_norm=True,
                    with_mask_token=True,
                ),
                target_generator=dict(
                    type='beit_mm.DVAETargetGenerator',
                    tokenizer=dict(type='beit_mm.DiscreteVAE', hidden=4, vocab_size=12),
                    checkpoint='no_such_file.pth',
                ),
                head=dict(type='beit_mm.MIMHead', embed_dims=24, vocab_size=12),
                data_preprocessor=dict(
                    type='beit_mm.TwoViewDataPreprocessor', mean=MEAN, std=STD,
                    second_mean=[0.0] * 3, second_std=[255.0] * 3,
                ),
            ),
        )
    )  # fmt: skip


def build(cfg: Config, part: str | None = None) -> nn.Module:
    """A model, or a part of it, whose every number is random: biases, tables and statistics too."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model if part is None else cfg.model[part])
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + (0.5 if 'running_var' in name else -0.5))
    return model.eval()


def save(cfg: Config, path: Path) -> Path:
    """A checkpoint of such weights; of a pre-training run that of its backbone alone."""
    pretrains = 'target_generator' in cfg.model
    weights = build(cfg, 'backbone' if pretrains else None).state_dict()
    if pretrains:
        weights = {f'backbone.{name}': tensor for name, tensor in weights.items()}
    meta = dict(dataset_meta=dict(classes=CLASSES, palette=[[9, 9, 9]] * 3))
    torch.save(dict(state_dict=weights, meta=meta), path)
    return path


def photo(path: Path, size: tuple[int, int] = (SIZE, SIZE)) -> np.ndarray:
    """A smooth picture in all colours as a PNG file; its RGB pixels (H, W, 3) uint8."""
    small = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC)
    image.save(path)
    return np.asarray(image)
