"""Quickstart, stage 2: pre-train a small BEiT on the training images, without labels.

    python tools/train.py configs/quickstart/pretrain.py
    tools/dist_train.sh configs/quickstart/pretrain.py 2

Takes stage 1's tokenizer. Expected on MNIST's digits (seed 0, measured here): 18.8 % of
the hidden tokens of the validation images predicted.
"""

_base_ = ['./_base_.py', '../_base_/small_pretrain.py']

sizes = dict(size={{_base_.image_size}}, second_size={{_base_.second_size}})
max_iters = 2000
warmup_iters = 100

# 6 of 16 is the paper's 40 %, rounded down as its 75 of 196 is.
num_masked = 6
model = dict(
    backbone={{_base_.backbone}},
    target_generator=dict(
        tokenizer={{_base_.tokenizer}}, checkpoint='work_dirs/quickstart/tokenizer.pth'
    ),
    head=dict(
        embed_dims={{_base_.embed_dims}},
        vocab_size={{_base_.vocab_size}},
        num_masked=num_masked,
    ),
    data_preprocessor={{_base_.grey}},
)

mask = dict(
    type='beit_mm.BlockwiseMaskGenerator',
    grid_size={{_base_.grid_size}},
    num_masked=num_masked,
    min_block=2,
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
