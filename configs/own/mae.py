"""Your own images: MAE pre-trained without labels, and without a tokenizer.

    beit-mm pretrain FOLDER

fills in the values above `model`, and trains this. By hand, with the values changed:

    python tools/train.py configs/own/mae.py

Expected: a squared error of the hidden patches, `mim/mse`, well below 1, the variance of a patch,
and still falling.
"""

_base_ = ['./_base_.py', '../_base_/small_mae.py']

# Or beit_mm.PhotoShards and beit_mm.ShardSampler.
dataset = 'beit_mm.PhotoFolder'
train_sampler = 'InfiniteSampler'
data_root = 'data/mine'
# A path below data_root on each line.
train_list = 'train.txt'
val_list = 'val.txt'
# How images are read, see beit_mm.LoadPhoto: None for photos of 8 bits in colours.
bands = None
value_range = None
background = None
no_data = None
# Of the bands, in [0, 255].
mean = [123.675, 116.28, 103.53]
std = [58.395, 57.12, 57.375]
arch = dict(embed_dims=128, num_layers=6, num_heads=4, feedforward_channels=512)
embed_dims = 128
# Half as wide as the encoder.
decoder = dict(embed_dims=64, num_layers=2, num_heads=2)
image_size = 64
patch_size = 8
grid_size = (8, 8)
# The paper's 75 % of the patches.
num_masked = 48
batch_size = 64
learning_rate = 1e-3
max_iters = 2000
warmup_iters = 100
num_workers = 2

in_channels = 3 if bands is None else bands if isinstance(bands, int) else len(bands)
band_names = None if bands is None or isinstance(bands, int) else bands
positions_for = dict(img_size=image_size, patch_size=patch_size)
model = dict(
    backbone=dict(arch=arch, in_channels=in_channels, bands=band_names, **positions_for),
    decoder=dict(encoder_dims=embed_dims, **decoder, **positions_for),
    target_generator=dict(patch_size=patch_size, in_channels=in_channels),
    head=dict(
        embed_dims=decoder['embed_dims'],
        num_values=patch_size**2 * in_channels,
        num_masked=num_masked,
    ),
    data_preprocessor=dict(mean=mean, std=std),
)

sizes = dict(size=image_size, second_size=None)
reading = dict(bands=bands, value_range=value_range, background=background, no_data=no_data)
# Crops and flips alone: colours change nothing for the better (the paper's table 1e).
colors = dict(brightness=0.0, contrast=0.0, saturation=0.0)
views = dict(type='beit_mm.LoadTwoViews', scale=(0.2, 1.0), **colors, **sizes, **reading)
load = dict(type='beit_mm.LoadPhoto', **reading)
whole = dict(type='beit_mm.TwoViewRandomResizedCrop', scale=(1.0, 1.0), ratio=(1.0, 1.0), **sizes)
mask = dict(type='beit_mm.RandomMaskGenerator', grid_size=grid_size, num_masked=num_masked)
pack = dict(type='PackInputs')
photos = dict(type=dataset, data_root=data_root, with_label=False)
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    sampler=dict(type=train_sampler),
    dataset=dict(ann_file=train_list, pipeline=[views, mask, pack], **photos),
)
val_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    dataset=dict(ann_file=val_list, pipeline=[load, whole, mask, pack], **photos),
)
test_dataloader = val_dataloader

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=learning_rate))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=warmup_iters),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=warmup_iters,
        T_max=max_iters - warmup_iters,
        eta_min=0.0,
    ),
]
