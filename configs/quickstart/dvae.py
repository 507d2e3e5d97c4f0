"""Quickstart, stage 1: train a small image tokenizer.

    python tools/train.py configs/quickstart/dvae.py

Expected on the digits (seed 0, measured here): 81 of 128 tokens
used, recon_mse 0.017, perplexity 38 on the validation images.
"""

_base_ = ['./_base_.py']

size = {{_base_.second_size}}
max_iters = 800

model = dict(
    data_preprocessor=dict(type='SelfSupDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255]),
    **_base_.tokenizer,
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
            dict(type='torchvision/RandomResizedCrop', size=size, scale=(0.6, 1.0)),
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
            dict(type='torchvision/Resize', size=(size, size)),
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
    dict(type='beit_mm.CodebookHook'),
    # The pull towards using all tokens equally has to be there before the decoder settles on a
    # few: at a tenth of this weight the digits' tokenizer ended with a dozen.
    dict(
        type='beit_mm.DVAEAnnealingHook',
        temperature_steps=max_iters * 4 // 5,
        kl_weight=(0.0, 3.0),
        kl_steps=max_iters // 20,
    ),
]
