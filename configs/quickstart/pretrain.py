"""Quickstart, stage 2: pre-train a small BEiT on the training images, without labels.

    python tools/train.py configs/quickstart/pretrain.py
    tools/dist_train.sh configs/quickstart/pretrain.py 2

Takes stage 1's tokenizer. Expected on the digits (seed 0, measured here): 41.7 % of
the hidden tokens of the validation images predicted.
"""

_base_ = ['./_base_.py']

size = {{_base_.image_size}}
max_iters = 4500
warmup_iters = 225

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
        checkpoint='work_dirs/quickstart/tokenizer.pth',
    ),
    head=dict(type='beit_mm.MIMHead', embed_dims=64, vocab_size={{_base_.vocab_size}}),
    data_preprocessor=dict(
        type='TwoNormDataPreprocessor',
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        second_mean=[0.0, 0.0, 0.0],
        second_std=[255.0, 255.0, 255.0],
    ),
)

# 6 of 16 is the paper's 40 %, rounded down as its 75 of 196 is.
mask = dict(
    type='beit_mm.BlockwiseMaskGenerator',
    grid_size={{_base_.grid_size}},
    num_masked=6,
    min_block=2,
)
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='beit_mm.PhotoFolder',
        data_root={{_base_.data_root}},
        data_prefix='train',
        with_label=False,
        pipeline=[
            *_base_.load_image,
            dict(
                type='beit_mm.TwoViewRandomResizedCrop',
                size=size,
                second_size={{_base_.second_size}},
                scale=(0.6, 1.0),
            ),
            mask,
            dict(type='PackInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='CustomDataset',
        data_root={{_base_.data_root}},
        data_prefix='val',
        with_label=False,
        pipeline=[
            *_base_.load_image,
            dict(
                type='beit_mm.TwoViewRandomResizedCrop',
                size=size,
                second_size={{_base_.second_size}},
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
    optimizer=dict(type='AdamW', lr=3e-3, betas=(0.9, 0.999), weight_decay=0.05),
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
