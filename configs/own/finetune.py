"""Your own images, stage 3: a classifier on a pre-trained Transformer.

    beit-mm finetune FOLDER --weights work_dirs/own/pretrained.pth

fills in the values above `model`, and trains this. FOLDER holds a folder of images for each class,
or is a table with the columns path and label. By hand, with the values changed:

    python tools/train.py configs/own/finetune.py

Expected: top-1 above that of the same network from scratch.
"""

_base_ = ['./_base_.py', '../_base_/small_finetune.py']

# Or beit_mm.PhotoShards and beit_mm.ShardSampler.
dataset = 'beit_mm.PhotoFolder'
train_sampler = 'InfiniteSampler'
data_root = 'data/mine'
# A path below data_root and the number of its class on each line.
train_list = 'train.txt'
val_list = 'val.txt'
classes = ['cat', 'dog']
# How images are read, see beit_mm.LoadPhoto: None for photos of 8 bits in colours.
bands = None
value_range = None
background = None
no_data = None
# Whether an image may have several, or none: lists are .json, of MMPretrain's MultiLabelDataset.
several_labels = False
weights = dict(type='Pretrained', checkpoint='work_dirs/own/pretrained.pth')
# Of weights of MAE or ViT: type='beit_mm.VisionTransformer', positions='learned'.
network = dict(
    type='beit_mm.BEiT',
    use_abs_pos_emb=True,
    use_rel_pos_bias=True,
    layer_scale_init_value=1.0,
    initial_values='xavier',
)
arch = dict(embed_dims=128, num_layers=6, num_heads=4, feedforward_channels=512)
embed_dims = 128
image_size = 64
patch_size = 8
drop_path_rate = 0.1
mean = [123.675, 116.28, 103.53]
std = [58.395, 57.12, 57.375]
batch_size = 32
learning_rate = 1e-3
layer_decay_rate = 0.75
max_iters = 1000
warmup_iters = 100
val_interval = 250
num_workers = 2

in_channels = 3 if bands is None else bands if isinstance(bands, int) else len(bands)
band_names = None if bands is None or isinstance(bands, int) else bands
model = dict(
    backbone=dict(
        **network,
        arch=arch,
        img_size=image_size,
        patch_size=patch_size,
        drop_path_rate=drop_path_rate,
        in_channels=in_channels,
        bands=band_names,
        init_cfg=weights,
    ),
    head=dict(num_classes=len(classes), in_channels=embed_dims, topk=(1,)),
    data_preprocessor=dict(num_classes=len(classes), mean=mean, std=std),
)

reading = dict(bands=bands, value_range=value_range, background=background, no_data=no_data)
load = dict(type='beit_mm.LoadPhoto', **reading)
pack = dict(type='PackInputs')
# Of other than photos of 8 bits too.
smooth = dict(antialias=True)
crop = dict(type='torchvision/RandomResizedCrop', size=image_size, scale=(0.3, 1.0), **smooth)
flip = dict(type='torchvision/RandomHorizontalFlip', p=0.5)
short_side = dict(type='torchvision/Resize', size=image_size, **smooth)
middle = dict(type='torchvision/CenterCrop', size=image_size)
photos = dict(
    type='MultiLabelDataset' if several_labels else dataset,
    data_root=data_root,
    metainfo=dict(classes=classes),
)
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

if several_labels:
    # Binary cross-entropy of each class, mean average precision over them.
    model['head'] = dict(
        _delete_=True,
        type='MultiLabelLinearClsHead',
        num_classes=len(classes),
        in_channels=embed_dims,
    )
    val_evaluator = dict(_delete_=True, type='AveragePrecision')
    test_evaluator = val_evaluator

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=val_interval)
optim_wrapper = dict(
    constructor='beit_mm.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=layer_decay_rate),
    optimizer=dict(lr=learning_rate),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, end=warmup_iters),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=warmup_iters,
        T_max=max_iters - warmup_iters,
        eta_min=1e-6,
    ),
]
default_hooks = dict(checkpoint=dict(interval=val_interval, max_keep_ckpts=1, save_best='auto'))
