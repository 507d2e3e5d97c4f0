"""Claims, fine-tuning: the pre-trained BEiT on a few labels a class.

    python tools/train.py configs/claims/finetune.py

Takes the weights of a pre-training variant. Figures: benchmarks/results/claims_tiny_imagenet.md.
"""

_base_ = ['./_base_.py', '../_base_/small_finetune.py']

size = {{_base_.image_size}}
num_classes = 40
max_epochs = 30
warmup_epochs = 3

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/claims/pretrained.pth'), **_base_.backbone),
    head=dict(num_classes=num_classes, in_channels={{_base_.embed_dims}}),
    data_preprocessor=dict(num_classes=num_classes),
)

crop = dict(type='torchvision/RandomResizedCrop', size=size, scale={{_base_.crop_scale}})
resize = dict(type='torchvision/Resize', size=(size, size))
pack = dict(type='PackInputs')
train_dataloader = dict(
    batch_size=50, dataset=dict(pipeline=[*_base_.load_image, _base_.flip, crop, pack])
)
val_dataloader = dict(dataset=dict(pipeline=[*_base_.load_image, resize, pack]))
test_dataloader = val_dataloader

optim_wrapper = dict(type='beit_mm.BFloat16OptimWrapper')
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [
    dict(_base_.warmup, end=warmup_epochs),
    dict(_base_.decay, begin=warmup_epochs, end=max_epochs),
]
