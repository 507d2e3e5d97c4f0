"""CamVid, stage 2: pre-train a small BEiT on the training pictures, without labels.

    python tools/train.py configs/camvid/pretrain.py

Takes stage 1's tokenizer, work_dirs/camvid/tokenizer.pth. Expected: benchmarks/results/camvid.md.
"""

_base_ = ['./_base_.py']

size = {{_base_.image_size}}
second_size = {{_base_.second_size}}
max_iters = 1000
warmup_iters = 50

model = dict(
    type='beit_mm.MaskedImageModeling',
    backbone=dict(
        out_type='raw',
        final_norm=True,
        with_mask_token=True,
        use_rel_pos_bias=False,
        use_shared_rel_pos_bias=True,
        **_base_.backbone,
    ),
    target_generator=dict(
        type='beit_mm.DVAETargetGenerator',
        tokenizer={{_base_.tokenizer}},
        checkpoint='work_dirs/camvid/tokenizer.pth',
    ),
    head=dict(type='beit_mm.MIMHead', embed_dims=128, vocab_size={{_base_.vocab_size}}),
    data_preprocessor=dict(
        type='TwoNormDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        second_mean=[0.0, 0.0, 0.0],
        second_std=[255.0, 255.0, 255.0],
        to_rgb=True,
    ),
)

# The paper's 40 % of the patches.
mask = dict(type='beit_mm.BlockwiseMaskGenerator', grid_size={{_base_.grid_size}}, num_masked=102)
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
            dict(type='RandomFlip', prob=0.5, direction='horizontal'),
            # As much of a picture as a crop of the half-size picture shows, and up to twice that.
            dict(
                type='beit_mm.TwoViewRandomResizedCrop',
                size=size,
                second_size=second_size,
                scale=(0.15, 0.8),
            ),
            mask,
            dict(type='PackInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=16,
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
            dict(
                type='beit_mm.TwoViewRandomResizedCrop',
                size=size,
                second_size=second_size,
                scale=(1.0, 1.0),
                ratio=(1.0, 1.0),
            ),
            mask,
            dict(type='PackInputs'),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='beit_mm.MIMAccuracy')
test_evaluator = val_evaluator

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)

optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1.5e-3, betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=3.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=warmup_iters),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=warmup_iters,
        T_max=max_iters - warmup_iters,
        eta_min=1e-5,
    ),
]
