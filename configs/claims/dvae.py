"""Claims, the tokenizer that all variants share.

    python tools/train.py configs/claims/dvae.py

Watch codes_used: a tokenizer that uses a handful of its tokens teaches nothing. Figures of a run
are in benchmarks/results/claims_tiny_imagenet.json.
"""

_base_ = ['./_base_.py']

size = {{_base_.second_size}}
max_epochs = 10

model = dict(
    data_preprocessor=dict(type='SelfSupDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255]),
    **_base_.tokenizer,
)

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
            dict(type='torchvision/RandomResizedCrop', size=size, scale={{_base_.crop_scale}}),
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

train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=max_epochs)

optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.999), weight_decay=1e-4),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=0,
        end=max_epochs,
        eta_min=2e-5,
        convert_to_iter_based=True,
    ),
]
custom_hooks = [
    # The pull towards using all tokens equally has to be there before the decoder settles on a few.
    dict(
        type='beit_mm.DVAEAnnealingHook',
        temperature_steps=600,
        kl_weight=(0.0, 3.0),
        kl_steps=40,
    ),
    dict(type='beit_mm.CodebookHook'),
]
