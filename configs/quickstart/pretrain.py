"""Quickstart, stage 2: pre-train a small BEiT on the training images, without labels.

python tools/train.py configs/quickstart/pretrain.py
tools/dist_train.sh configs/quickstart/pretrain.py 2
"""

_base_ = ['./_base_.py']

data_root = {{_base_.data_root}}
image_size = {{_base_.image_size}}
grid_size = {{_base_.grid_size}}
vocab_size = 128
second_size = 32
max_iters = 1200

model = dict(
    type='beit_mm.MaskedImageModeling',
    backbone=dict(
        type='beit_mm.BEiT',
        arch=dict(embed_dims=96, num_layers=6, num_heads=3, feedforward_channels=384),
        img_size=image_size,
        patch_size=4,
        out_type='raw',
        final_norm=True,
        with_mask_token=True,
        use_rel_pos_bias=False,
        use_shared_rel_pos_bias=True,
    ),
    target_generator=dict(
        type='beit_mm.DVAETargetGenerator',
        tokenizer=dict(
            type='beit_mm.DiscreteVAE',
            vocab_size=vocab_size,
            hidden=24,
            num_groups=3,
            blocks_per_group=1,
        ),
        checkpoint='work_dirs/quickstart/tokenizer.pth',
    ),
    head=dict(type='beit_mm.MIMHead', embed_dims=96, vocab_size=vocab_size),
    data_preprocessor=dict(
        type='TwoNormDataPreprocessor',
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        second_mean=[0.0, 0.0, 0.0],
        second_std=[255.0, 255.0, 255.0],
    ),
)

mask = dict(type='beit_mm.BlockwiseMaskGenerator', grid_size=grid_size, num_masked=26, min_block=4)
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='CustomDataset',
        data_root=data_root,
        data_prefix='train',
        with_label=False,
        pipeline=[
            *_base_.load_image,
            dict(
                type='beit_mm.TwoViewRandomResizedCrop',
                size=image_size,
                second_size=second_size,
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
        data_root=data_root,
        data_prefix='val',
        with_label=False,
        pipeline=[
            *_base_.load_image,
            dict(
                type='beit_mm.TwoViewRandomResizedCrop',
                size=image_size,
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
val_cfg = dict()
test_cfg = dict()

optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=3.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=max_iters // 20),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=max_iters // 20,
        T_max=max_iters - max_iters // 20,
        eta_min=1e-5,
    ),
]
