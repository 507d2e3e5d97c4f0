"""Quickstart, stage 1: train a small image tokenizer.

    python tools/train.py configs/quickstart/dvae.py

Expected on the digits after 400 iterations, about a minute on 2 cores: FIGURES.
"""

_base_ = ['./_base_.py']

data_root = {{_base_.data_root}}
image_size = {{_base_.image_size}}
max_iters = 400

model = dict(
    type='beit_mm.DiscreteVAE',
    vocab_size=128,
    hidden=24,
    num_groups=3,
    blocks_per_group=1,
    decoder_input=32,
    data_preprocessor=dict(type='SelfSupDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255]),
)

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
            dict(type='torchvision/RandomResizedCrop', size=image_size, scale=(0.6, 1.0)),
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
            dict(type='torchvision/Resize', size=(image_size, image_size)),
            dict(type='PackInputs'),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='beit_mm.TokenizerMetric')
test_evaluator = val_evaluator

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict()
test_cfg = dict()

optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.999), weight_decay=1e-4),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=False, T_max=max_iters, eta_min=2e-5)
custom_hooks = [
    dict(
        type='beit_mm.DVAEAnnealingHook',
        temperature_steps=int(0.8 * max_iters),
        kl_weight=(0.0, 1.0),
        kl_steps=int(0.3 * max_iters),
    ),
]
