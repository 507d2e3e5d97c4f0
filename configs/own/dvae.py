"""Your own images, stage 1: an image tokenizer.

    beit-mm pretrain FOLDER --method beit

fills in the values above `model`, trains this, then pretrain.py. By hand, with the values changed:

    python tools/train.py configs/own/dvae.py

Expected: a `recon_mse` below `kmeans_mse`, and most codes in use.
"""

_base_ = ['./_base_.py', '../_base_/small_dvae.py']

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
# Half of what the Transformer sees, as in the paper.
second_size = 32
vocab_size = 256
# Each group after the first halves the picture: three for a token to 4 pixels, four to 8.
num_groups = 3
hidden = 32
batch_size = 32
learning_rate = 5e-3
max_iters = 1000
num_workers = 2

in_channels = 3 if bands is None else bands if isinstance(bands, int) else len(bands)
band_names = None if bands is None or isinstance(bands, int) else bands
model = dict(
    type='beit_mm.DiscreteVAE',
    quantizer='vector',
    vocab_size=vocab_size,
    num_groups=num_groups,
    blocks_per_group=1,
    hidden=hidden,
    decoder_input=hidden,
    in_channels=in_channels,
    bands=band_names,
    data_preprocessor=dict(mean=[0.0], std=[255.0]),
)

reading = dict(bands=bands, value_range=value_range, background=background, no_data=no_data)
load = dict(type='beit_mm.LoadPhoto', **reading)
pack = dict(type='PackInputs')
# Of other than photos of 8 bits too.
smooth = dict(antialias=True)
crop = dict(type='torchvision/RandomResizedCrop', size=second_size, scale=(0.2, 1.0), **smooth)
flip = dict(type='torchvision/RandomHorizontalFlip', p=0.5)
short_side = dict(type='torchvision/Resize', size=second_size, **smooth)
middle = dict(type='torchvision/CenterCrop', size=second_size)
photos = dict(type=dataset, data_root=data_root, with_label=False)
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    sampler=dict(type=train_sampler),
    dataset=dict(ann_file=train_list, pipeline=[load, crop, flip, pack], **photos),
)
val_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    dataset=dict(ann_file=val_list, pipeline=[load, short_side, middle, pack], **photos),
)
test_dataloader = val_dataloader

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=learning_rate))
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=False, T_max=max_iters, eta_min=2e-5)
