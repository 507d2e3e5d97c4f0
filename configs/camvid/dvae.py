"""CamVid, stage 1: train a small image tokenizer on the training pictures.

    python tools/train.py configs/camvid/dvae.py

Expected: benchmarks/results/camvid.md.
"""

_base_ = ['./_base_.py']

size = {{_base_.second_size}}
max_iters = 1000

model = dict(
    data_preprocessor=dict(
        type='SelfSupDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255], to_rgb=True
    ),
    **_base_.tokenizer,
)

train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='CustomDataset',
        data_root={{_base_.data_root}},
        data_prefix='images/training',
        with_label=False,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='RandomResizedCrop', scale=size, crop_ratio_range=(0.15, 0.8)),
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            dict(type='PackInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='CustomDataset',
        data_root={{_base_.data_root}},
        data_prefix='images/validation',
        with_label=False,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='CenterCrop', crop_size=256),
            dict(type='Resize', scale=(size, size)),
            dict(type='PackInputs'),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='beit_mm.TokenizerMetric')
test_evaluator = val_evaluator

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)

optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.999), weight_decay=1e-4),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=False, T_max=max_iters, eta_min=2e-5)
custom_hooks = [
    # An early pull towards using all tokens equally keeps the codebook alive.
    dict(
        type='beit_mm.DVAEAnnealingHook',
        temperature_steps=max_iters * 4 // 5,
        kl_weight=(0.0, 3.0),
        kl_steps=max_iters // 20,
    ),
    dict(type='beit_mm.CodebookHook'),
]
