"""Quickstart with MAE, stage 1: pre-train on the training images, without labels or a tokenizer.

    python tools/train.py configs/quickstart/mae.py

Expected on MNIST's digits (seed 0, measured here): a squared error of 0.334 of the hidden patches
of the validation images, whose pixels have a variance of 1.
"""

_base_ = ['./_base_.py', '../_base_/small_mae.py']

max_iters = 3000
warmup_iters = 150
decoder_dims = 32
# Of 16 patches, the paper's 75 %.
num_masked = 12
bands = 3

sizes = dict(size={{_base_.image_size}}, second_size=None)
positions_for = dict(img_size={{_base_.image_size}}, patch_size={{_base_.patch_size}})
model = dict(
    backbone=dict(arch={{_base_.backbone.arch}}, **positions_for),
    decoder=dict(
        encoder_dims={{_base_.embed_dims}},
        embed_dims=decoder_dims,
        num_layers=2,
        num_heads=2,
        **positions_for,
    ),
    target_generator=dict(patch_size={{_base_.patch_size}}),
    head=dict(
        embed_dims=decoder_dims, num_values=_base_.patch_size**2 * bands, num_masked=num_masked
    ),
    data_preprocessor={{_base_.grey}},
)

mask = dict(
    type='beit_mm.RandomMaskGenerator', grid_size={{_base_.grid_size}}, num_masked=num_masked
)
views = dict(type='beit_mm.TwoViewRandomResizedCrop', scale=(0.6, 1.0), **sizes)
whole = dict(_base_.whole_views, **sizes)
pack = dict(type='PackInputs')
train_dataloader = dict(
    batch_size=64, dataset=dict(with_label=False, pipeline=[*_base_.load_image, views, mask, pack])
)
val_dataloader = dict(
    dataset=dict(with_label=False, pipeline=[*_base_.load_image, whole, mask, pack])
)
test_dataloader = val_dataloader

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
param_scheduler = [
    dict(_base_.warmup, end=warmup_iters),
    dict(_base_.decay, begin=warmup_iters, T_max=max_iters - warmup_iters),
]
