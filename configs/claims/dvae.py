"""Claims, the tokenizer that all variants share.

    python tools/train.py configs/claims/dvae.py

Watch codes_used: a tokenizer that uses a handful of its tokens teaches nothing. Figures of a run
are in benchmarks/results/claims_tiny_imagenet.json.
"""

_base_ = ['./_base_.py', '../_base_/small_dvae.py']

size = {{_base_.second_size}}
max_epochs = 10

model = {{_base_.tokenizer}}

crop = dict(type='torchvision/RandomResizedCrop', size=size, scale={{_base_.crop_scale}})
resize = dict(type='torchvision/Resize', size=(size, size))
pack = dict(type='PackInputs')
train_dataloader = dict(
    batch_size=32,
    drop_last=True,
    dataset=dict(with_label=False, pipeline=[*_base_.load_image, _base_.flip, crop, pack]),
)
val_dataloader = dict(dataset=dict(with_label=False, pipeline=[*_base_.load_image, resize, pack]))
test_dataloader = val_dataloader

train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=max_epochs)
param_scheduler = [dict(_base_.decay, begin=0, end=max_epochs, eta_min=2e-5)]
