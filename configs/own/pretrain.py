"""Your own images, stage 2: BEiT pre-trained without labels.

    beit-mm pretrain FOLDER --method beit

fills in the values above `model`, trains dvae.py, then this. By hand, with the values changed:

    python tools/train.py configs/own/pretrain.py

Expected: the share of hidden tokens that is predicted, `mim/acc`, far above that of the commonest
token, and still rising.
"""

_base_ = ['./_base_.py', '../_base_/small_pretrain.py']

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
tokenizer_file = 'work_dirs/own/tokenizer.pth'
tokenizer = dict(
    type='beit_mm.DiscreteVAE',
    quantizer='vector',
    vocab_size=256,
    num_groups=3,
    blocks_per_group=1,
    hidden=32,
    decoder_input=32,
)
arch = dict(embed_dims=128, num_layers=6, num_heads=4, feedforward_channels=512)
embed_dims = 128
image_size = 64
second_size = 32
patch_size = 8
grid_size = (8, 8)
# The paper's 40 % of the patches, and blocks of a twelfth or more.
num_masked = 25
min_block = 5
# Small networks learn their positions too slowly from relative bias alone, and all too slowly from
# the paper's initial values, 'truncated-normal'.
use_abs_pos_emb = True
layer_scale = 1.0
initial_values = 'xavier'
batch_size = 32
learning_rate = 1e-3
max_iters = 2000
warmup_iters = 100
num_workers = 2

in_channels = 3 if bands is None else bands if isinstance(bands, int) else len(bands)
band_names = None if bands is None or isinstance(bands, int) else bands
model = dict(
    backbone=dict(
        arch=arch,
        img_size=image_size,
        patch_size=patch_size,
        use_abs_pos_emb=use_abs_pos_emb,
        layer_scale_init_value=layer_scale,
        initial_values=initial_values,
        in_channels=in_channels,
        bands=band_names,
        type='beit_mm.BEiT',
    ),
    target_generator=dict(
        tokenizer={'in_channels': in_channels, 'bands': band_names, **tokenizer},
        checkpoint=tokenizer_file,
    ),
    # With the number of hidden patches a GPU need not be waited for to count them.
    head=dict(embed_dims=embed_dims, vocab_size=tokenizer['vocab_size'], num_masked=num_masked),
    data_preprocessor=dict(
        _delete_=True,
        type='beit_mm.TwoViewDataPreprocessor',
        mean=mean,
        std=std,
        second_mean=[0.0],
        second_std=[255.0],
    ),
)

sizes = dict(size=image_size, second_size=second_size)
reading = dict(bands=bands, value_range=value_range, background=background, no_data=no_data)
views = dict(type='beit_mm.LoadTwoViews', scale=(0.2, 1.0), **sizes, **reading)
load = dict(type='beit_mm.LoadPhoto', **reading)
whole = dict(type='beit_mm.TwoViewRandomResizedCrop', scale=(1.0, 1.0), ratio=(1.0, 1.0), **sizes)
mask = dict(
    type='beit_mm.BlockwiseMaskGenerator',
    grid_size=grid_size,
    num_masked=num_masked,
    min_block=min_block,
)
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
        eta_min=1e-5,
    ),
]
