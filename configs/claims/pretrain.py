"""Claims, variant `full`: BEiT's task, visual tokens under blockwise masks.

    python tools/train.py configs/claims/pretrain.py

Takes the weights of dvae.py. Figures: benchmarks/results/claims_tiny_imagenet.md.
"""

_base_ = ['./_base_.py']

size = {{_base_.image_size}}
max_epochs = 12
warmup_epochs = 1

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
        checkpoint='work_dirs/claims/tokenizer.pth',
    ),
    head=dict(
        type='beit_mm.MIMHead',
        embed_dims={{_base_.embed_dims}},
        vocab_size={{_base_.vocab_size}},
    ),
    data_preprocessor=dict(
        type='TwoNormDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        second_mean=[0.0, 0.0, 0.0],
        second_std=[255.0, 255.0, 255.0],
    ),
)

# 25 of 64 is the paper's 40 %, rounded down as its 75 of 196 is.
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='CustomDataset',
        data_root={{_base_.data_root}},
        data_prefix='train',
        with_label=False,
        pipeline=[
            *_base_.load_image,
            dict(type='torchvision/RandomHorizontalFlip', p=0.5),
            dict(
                type='beit_mm.TwoViewRandomResizedCrop',
                size=size,
                second_size={{_base_.second_size}},
                scale={{_base_.crop_scale}},
            ),
            dict(
                type='beit_mm.BlockwiseMaskGenerator',
                grid_size={{_base_.grid_size}},
                num_masked=25,
                min_block=5,
            ),
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
            dict(
                type='beit_mm.BlockwiseMaskGenerator',
                grid_size={{_base_.grid_size}},
                num_masked=25,
                min_block=5,
            ),
            dict(type='PackInputs'),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='beit_mm.MIMAccuracy')
test_evaluator = val_evaluator

train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=max_epochs)

optim_wrapper = dict(
    type='beit_mm.BFloat16OptimWrapper',
    optimizer=dict(type='AdamW', lr=1.5e-3, betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=3.0),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-3,
        by_epoch=True,
        begin=0,
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=warmup_epochs,
        end=max_epochs,
        eta_min=1e-5,
        convert_to_iter_based=True,
    ),
]
