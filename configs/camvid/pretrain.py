"""CamVid, stage 2: pre-train a small BEiT on the training pictures, without labels.

    python tools/train.py configs/camvid/pretrain.py

Takes stage 1's tokenizer, work_dirs/camvid/tokenizer.pth. Expected: benchmarks/results/camvid.md.
"""

_base_ = ['./_base_.py', '../_base_/small_pretrain.py']

sizes = dict(size={{_base_.image_size}}, second_size={{_base_.second_size}})
max_iters = 1000
warmup_iters = 50

# The paper's 40 % of the patches.
num_masked = 102
model = dict(
    backbone={{_base_.backbone}},
    target_generator=dict(
        tokenizer={{_base_.tokenizer}}, checkpoint='work_dirs/camvid/tokenizer.pth'
    ),
    head=dict(
        embed_dims={{_base_.embed_dims}},
        vocab_size={{_base_.vocab_size}},
        num_masked=num_masked,
    ),
    data_preprocessor=dict(to_rgb=True),
)

mask = dict(
    type='beit_mm.BlockwiseMaskGenerator',
    grid_size={{_base_.grid_size}},
    num_masked=num_masked,
)
flip = dict(type='RandomFlip', prob=0.5, direction='horizontal')
# As much of a picture as a crop of the half-size picture shows, and up to twice that.
views = dict(type='beit_mm.TwoViewRandomResizedCrop', scale=(0.15, 0.8), **sizes)
middle = dict(type='CenterCrop', crop_size=256)
pack = dict(type='PackInputs')
train_steps = [_base_.load, flip, views, mask, pack]
val_steps = [_base_.load, middle, dict(_base_.whole_views, **sizes), mask, pack]
train_dataloader = dict(
    batch_size=16,
    collate_fn=dict(type='default_collate'),
    dataset=dict(data_prefix='images/training', pipeline=train_steps, **_base_.photos),
)
val_dataloader = dict(
    batch_size=16,
    collate_fn=dict(type='default_collate'),
    dataset=dict(data_prefix='images/validation', pipeline=val_steps, **_base_.photos),
)
test_dataloader = val_dataloader

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(_base_.warmup, end=warmup_iters),
    dict(_base_.decay, begin=warmup_iters, T_max=max_iters - warmup_iters),
]
