"""Claims, fine-tuning: the pre-trained BEiT on a few labels a class.

    python tools/train.py configs/claims/finetune.py

Takes the weights of a pre-training variant. Figures: benchmarks/results/claims_tiny_imagenet.md.
"""

_base_ = ['./_base_.py']

size = {{_base_.image_size}}
num_classes = 40
max_epochs = 30
warmup_epochs = 3

model = dict(
    type='ImageClassifier',
    backbone=dict(
        drop_path_rate=0.1,
        out_type='avg_featmap',
        use_rel_pos_bias=True,
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/claims/pretrained.pth'),
        **_base_.backbone,
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=num_classes,
        in_channels={{_base_.embed_dims}},
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1),
    ),
    data_preprocessor=dict(
        num_classes=num_classes,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    ),
)

train_dataloader = dict(
    batch_size=50,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='CustomDataset',
        data_root={{_base_.data_root}},
        data_prefix='train',
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

train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=max_epochs)

optim_wrapper = dict(
    type='beit_mm.BFloat16OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.05),
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
