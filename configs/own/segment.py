"""Your own images, stage 3: a segmentor on a pre-trained Transformer, with the SETR-PUP layer.

    beit-mm segment IMAGES MASKS --weights work_dirs/own/pretrained.pth

fills in the values above `model`, and trains this. MASKS holds a PNG for each image, under the same
name, with the number of a class in each pixel. By hand, with the values changed:

    python tools/train.py configs/own/segment.py

Expected: mIoU above that of the same network from scratch.
"""

_base_ = ['../_base_/small.py']

default_scope = 'mmseg'

image_root = 'data/mine/images'
mask_root = 'data/mine/masks'
image_ending = '.jpg'
mask_ending = '.png'
# The path of an image without its ending on each line.
train_list = 'train.txt'
val_list = 'val.txt'
classes = ['background', 'object']
# How images are read, see beit_mm.LoadPhoto: None for photos of 8 bits in colours.
bands = None
value_range = None
background = None
no_data = None
palette = [[0, 0, 0], [255, 0, 0]]
# Colours in the masks that stand for labels, such as {'#ff0000': 1}; None where numbers do.
colors = None
# Numbers in the masks that are no class, and what they become: no class either.
ignored = [-1]
ignore_index = 255
# In Cityscapes 26001 is car 1: numbers from 1000 on, divided by 1000, are the class.
divide_by = None
# Labels that stand for another, such as 255 for class 1.
label_map = None
# Whether 0 in the masks is no class, and 1 the first.
reduce_zero_label = False
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
# Of a crop in training, and of the window that slides over an image.
image_size = 128
stride = 96
patch_size = 8
# Width and height that images are brought into, and the short side that they have before.
scale = (240, 180)
photo_side = None
drop_path_rate = 0.1
mean = [123.675, 116.28, 103.53]
std = [58.395, 57.12, 57.375]
batch_size = 4
learning_rate = 1e-3
layer_decay_rate = 0.85
max_iters = 1000
warmup_iters = 100
val_interval = 500
num_workers = 2

in_channels = 3 if bands is None else bands if isinstance(bands, int) else len(bands)
band_names = None if bands is None or isinstance(bands, int) else bands
model = dict(
    _scope_='mmseg',
    type='EncoderDecoder',
    data_preprocessor=dict(
        # MMSegmentation's takes three bands.
        type='SegDataPreProcessor' if in_channels == 3 else 'beit_mm.SegDataPreProcessor',
        mean=mean,
        std=std,
        # Bands that are named or counted come in their order.
        bgr_to_rgb=bands is None,
        pad_val=0,
        seg_pad_val=ignore_index,
        size=(image_size, image_size),
        test_cfg=dict(size_divisor=patch_size),
    ),
    backbone=dict(
        **network,
        arch=arch,
        img_size=image_size,
        patch_size=patch_size,
        drop_path_rate=drop_path_rate,
        in_channels=in_channels,
        bands=band_names,
        out_type='featmap',
        init_cfg=weights,
    ),
    decode_head=dict(
        type='beit_mm.SETRPUPHead',
        in_channels=embed_dims,
        channels=64,
        patch_size=patch_size,
        num_classes=len(classes),
        ignore_index=ignore_index,
        dropout_ratio=0,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='slide', crop_size=(image_size, image_size), stride=(stride, stride)),
)

reading = dict(bands=bands, value_range=value_range, background=background, no_data=no_data)
load = dict(type='beit_mm.LoadPhoto', as_array=True, **reading)
load_annotation = [
    dict(
        type='beit_mm.LoadLabels',
        colors=colors,
        ignored=ignored,
        divide_by=divide_by,
        ignore_index=ignore_index,
    ),
    dict(type='beit_mm.MapLabels', label_map=label_map or {}),
    dict(type='beit_mm.CheckAnnotation', num_classes=len(classes), ignore_index=ignore_index),
]
resize = dict(type='Resize', scale=scale, keep_ratio=True)
# MMSegmentation's takes photos of 8 bits in colours.
photos_alone = bands is None and value_range is None
jitter = dict(type='PhotoMetricDistortion') if photos_alone else dict(type='beit_mm.JitterBands')
augment = [
    dict(type='RandomResize', scale=scale, ratio_range=(0.75, 1.75), keep_ratio=True),
    dict(
        type='RandomCrop',
        crop_size=(image_size, image_size),
        cat_max_ratio=0.75,
        ignore_index=ignore_index,
    ),
    dict(type='RandomFlip', prob=0.5),
    jitter,
]
pack = dict(type='PackSegInputs')
photos = dict(
    type='BaseSegDataset',
    data_prefix=dict(img_path=image_root, seg_map_path=mask_root),
    img_suffix=image_ending,
    seg_map_suffix=mask_ending,
    metainfo=dict(classes=classes, palette=palette),
    reduce_zero_label=reduce_zero_label,
    ignore_index=ignore_index,
)
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=True,
    dataset=dict(
        _delete_=True,
        ann_file=train_list,
        pipeline=[load, *load_annotation, *augment, pack],
        **photos,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=num_workers,
    # The annotation is loaded after the photo is resized: it is tested at its own size.
    dataset=dict(
        _delete_=True,
        ann_file=val_list,
        pipeline=[load, resize, *load_annotation, pack],
        **photos,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'], ignore_index=ignore_index)
test_evaluator = val_evaluator
visualizer = dict(type='SegLocalVisualizer')

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=val_interval)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='beit_mm.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=layer_decay_rate),
    optimizer=dict(
        type='beit_mm.FusedAdamW', lr=learning_rate, betas=(0.9, 0.999), weight_decay=0.05
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=warmup_iters),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=warmup_iters, end=max_iters),
]
default_hooks = dict(
    # As in _base_.py: of a few dozen images one that is broken is more than a hundredth.
    broken_images=dict(max_share=0.1),
    checkpoint=dict(by_epoch=False, interval=val_interval, max_keep_ckpts=1, save_best='mIoU'),
)
log_processor = dict(by_epoch=False)
