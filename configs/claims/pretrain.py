"""Claims, variant `full`: BEiT's task, visual tokens under blockwise masks.

    python tools/train.py configs/claims/pretrain.py

Takes the weights of dvae.py. Figures: benchmarks/results/claims_tiny_imagenet.md.
"""

_base_ = ['./_base_.py', '../_base_/small_pretrain.py']

sizes = dict(size={{_base_.image_size}}, second_size={{_base_.second_size}})
max_epochs = 12
warmup_epochs = 1

# 25 of 64 is the paper's 40 %, rounded down as its 75 of 196 is.
num_masked = 25
model = dict(
    backbone={{_base_.backbone}},
    target_generator=dict(
        tokenizer={{_base_.tokenizer}}, checkpoint='work_dirs/claims/tokenizer.pth'
    ),
    head=dict(
        embed_dims={{_base_.embed_dims}},
        vocab_size={{_base_.vocab_size}},
        num_masked=num_masked,
    ),
)

mask = dict(
    type='beit_mm.BlockwiseMaskGenerator',
    grid_size={{_base_.grid_size}},
    num_masked=num_masked,
    min_block=5,
)
pack = dict(type='PackInputs')
# Up to the views; what a variant changes behind them is the mask.
train_steps = [
    *_base_.load_image,
    _base_.flip,
    dict(type='beit_mm.TwoViewRandomResizedCrop', scale={{_base_.crop_scale}}, **sizes),
]
val_steps = [*_base_.load_image, dict(_base_.whole_views, **sizes)]
train_dataloader = dict(
    batch_size=32,
    drop_last=True,
    dataset=dict(with_label=False, pipeline=[*train_steps, mask, pack]),
)
val_dataloader = dict(dataset=dict(with_label=False, pipeline=[*val_steps, mask, pack]))
test_dataloader = val_dataloader

train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=max_epochs)
optim_wrapper = dict(type='beit_mm.BFloat16OptimWrapper')
param_scheduler = [
    dict(_base_.warmup, end=warmup_epochs),
    dict(_base_.decay, begin=warmup_epochs, end=max_epochs),
]
