"""Quickstart, stage 3: fine-tune the pre-trained BEiT on ten labels a class.

    python tools/train.py configs/quickstart/finetune.py

Takes stage 2's weights. Expected on the digits (seed 0, measured here): 95.0 %
top-1.
"""

_base_ = ['./_base_.py']

size = {{_base_.image_size}}
num_classes = 10
max_iters = 800
warmup_iters = 80

model = dict(
    type='ImageClassifier',
    backbone=dict(
        drop_path_rate=0.1,
        out_type='avg_featmap',
        use_rel_pos_bias=True,
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/quickstart/pretrained.pth'),
        **_base_.backbone,
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=num_classes,
        in_channels=64,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1),
    ),
    data_preprocessor=dict(
        num_classes=num_classes, mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]
    ),
)

train_dataloader = dict(
    batch_size=50,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='beit_mm.PhotoFolder',
        data_root={{_base_.data_root}},
        data_prefix='train',
        ann_file='few_labels.txt',
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
        pipeline=[
            *_base_.load_image,
            dict(type='torchvision/Resize', size=(size, size)),
            dict(type='PackInputs'),
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)

optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.999), weight_decay=0.05),
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
