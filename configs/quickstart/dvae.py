"""Quickstart, stage 1: train a small image tokenizer.

    python tools/train.py configs/quickstart/dvae.py

Expected on the digits (seed 0, measured here): 81 of 128 tokens
used, recon_mse 0.017, perplexity 38 on the validation images.
"""

_base_ = ['./_base_.py', '../_base_/small_dvae.py']

size = {{_base_.second_size}}
max_iters = 800

model = {{_base_.tokenizer}}

crop = dict(type='torchvision/RandomResizedCrop', size=size, scale=(0.6, 1.0))
resize = dict(type='torchvision/Resize', size=(size, size))
pack = dict(type='PackInputs')
train_dataloader = dict(
    batch_size=64, dataset=dict(with_label=False, pipeline=[*_base_.load_image, crop, pack])
)
val_dataloader = dict(dataset=dict(with_label=False, pipeline=[*_base_.load_image, resize, pack]))
test_dataloader = val_dataloader

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
param_scheduler = dict(_base_.decay, T_max=max_iters, eta_min=2e-5)
custom_hooks = [
    _base_.codebook,
    dict(_base_.annealing, temperature_steps=max_iters * 4 // 5, kl_steps=max_iters // 20),
]
