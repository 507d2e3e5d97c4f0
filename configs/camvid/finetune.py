"""CamVid, stage 3: fine-tune the pre-trained BEiT with the SETR-PUP layer.

    python tools/train.py configs/camvid/finetune.py
    python tools/test.py configs/camvid/finetune.py CHECKPOINT [--tta]

Crops of 128 of the half-size picture, tested with a sliding window against annotations of full
size. Takes stage 2's weights. Expected: benchmarks/results/camvid.md.
"""

_base_ = ['./_base_.py']

default_scope = 'mmseg'

size = _base_.image_size
patch_size = _base_.patch_size
# Width and height of half a picture.
scale = (240, 180)
max_iters = 1600
warmup_iters = 160
classes = (
    'sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car', 'pedestrian',
    'bicyclist',
)  # fmt: skip
palette = [
    [128, 128, 128], [128, 0, 0], [192, 192, 128], [128, 64, 128], [60, 40, 222], [128, 128, 0],
    [192, 128, 128], [64, 64, 128], [64, 0, 128], [64, 64, 0], [0, 128, 192],
]  # fmt: skip
num_classes = len(classes)

model = dict(
    _scope_='mmseg',
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(size, size),
        test_cfg=dict(size_divisor=patch_size),
    ),
    backbone=dict(
        drop_path_rate=0.1,
        out_type='featmap',
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/camvid/pretrained.pth'),
        **_base_.backbone,
    ),
    decode_head=dict(
        type='beit_mm.SETRPUPHead',
        in_channels=128,
        channels=64,
        patch_size=patch_size,
        num_classes=num_classes,
        dropout_ratio=0,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        loss_decode=dict(type='CrossEntropyLoss', avg_non_ignore=True),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='slide', crop_size=(size, size), stride=(96, 112)),
)

load_annotation = [
    dict(type='LoadAnnotations'),
    dict(type='beit_mm.CheckAnnotation', num_classes=num_classes),
]
dataset = dict(
    type='BaseSegDataset',
    data_root={{_base_.data_root}},
    metainfo=dict(classes=classes, palette=palette),
    reduce_zero_label=True,
)
resize = dict(type='Resize', scale=scale, keep_ratio=True)
pack = dict(type='PackSegInputs')
augment = [
    dict(type='RandomResize', scale=scale, ratio_range=(0.75, 1.75), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(size, size), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
]
# The annotation is loaded after the photo is resized: it is tested at its own size. Under this name
# MMSegmentation's inference_model looks for it too.
test_pipeline = [_base_.load, resize, *load_annotation, pack]
train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        pipeline=[_base_.load, *load_annotation, *augment, pack],
        **dataset,
    ),
)
val_dataloader = dict(
    batch_size=1,
    dataset=dict(
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        pipeline=test_pipeline,
        **dataset,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
visualizer = dict(type='SegLocalVisualizer')
tta_model = dict(type='SegTTAModel')
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=(int(240 * r), int(180 * r)), keep_ratio=True)
                for r in (0.75, 1.0, 1.25, 1.5)
            ],
            [dict(type='RandomFlip', prob=p, direction='horizontal') for p in (0.0, 1.0)],
            [load_annotation[0]],
            [load_annotation[1]],
            [dict(type='PackSegInputs')],
        ],
    ),
]

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='beit_mm.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.85),
    optimizer=dict(type='beit_mm.FusedAdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.05),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=warmup_iters),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=warmup_iters, end=max_iters),
]
