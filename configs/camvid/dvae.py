"""CamVid, stage 1: train a small image tokenizer on the training pictures.

    python tools/train.py configs/camvid/dvae.py

Expected: benchmarks/results/camvid.md.
"""

_base_ = ['./_base_.py', '../_base_/small_dvae.py']

size = {{_base_.second_size}}
max_iters = 1000

model = dict(data_preprocessor=dict(to_rgb=True), **_base_.tokenizer)

crop = dict(type='RandomResizedCrop', scale=size, crop_ratio_range=(0.15, 0.8))
flip = dict(type='RandomFlip', prob=0.5, direction='horizontal')
middle = dict(type='CenterCrop', crop_size=256)
resize = dict(type='Resize', scale=(size, size))
pack = dict(type='PackInputs')
train_steps = [_base_.load, crop, flip, pack]
val_steps = [_base_.load, middle, resize, pack]
train_dataloader = dict(
    batch_size=16,
    collate_fn=dict(type='default_collate'),
    dataset=dict(data_prefix='images/training', pipeline=train_steps, **_base_.photos),
)
val_dataloader = dict(
    batch_size=32,
    collate_fn=dict(type='default_collate'),
    dataset=dict(data_prefix='images/validation', pipeline=val_steps, **_base_.photos),
)
test_dataloader = val_dataloader

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
param_scheduler = dict(_base_.decay, T_max=max_iters, eta_min=2e-5)
