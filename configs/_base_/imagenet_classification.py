"""ImageNet-1k for fine-tuning: the paper's augmentation at 224, the test crop, top-1 and top-5.

data/imagenet/train/<class>/*.JPEG and data/imagenet/val/<class>/*.JPEG, or all images of a split
in one folder with data/imagenet/meta/train.txt and val.txt, lines of `file label`. Class folders of
any names and number will do: give their number as model.head.num_classes and
model.data_preprocessor.num_classes, and with less than five val_evaluator.topk=1 and
test_evaluator.topk=1.
"""

# RandomErasing and RandAugment see images as OpenCV reads them: blue, green, red.
bgr_mean = [103.53, 116.28, 123.675]
bgr_std = [57.375, 57.12, 58.395]

train_pipeline = [
    dict(type='LoadImageFromFile'),
    # Pillow filters before it makes an image smaller; OpenCV would leave every n-th pixel.
    dict(type='RandomResizedCrop', scale=224, interpolation='bicubic', backend='pillow'),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandAugment',
        policies='timm_increasing',
        num_policies=2,
        magnitude_level=9,
        magnitude_std=0.5,
        total_level=10,
        hparams=dict(pad_val=[round(value) for value in bgr_mean], interpolation='bicubic'),
    ),
    dict(
        type='RandomErasing',
        erase_prob=0.25,
        mode='rand',
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=bgr_mean,
        fill_std=bgr_std,
    ),
    dict(type='PackInputs'),
]
# A crop ratio of 0.875: the middle 224 of 256.
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', interpolation='bicubic', backend='pillow'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]

workers = dict(num_workers=8, persistent_workers=True, pin_memory=True)
# The classes are those of the folders, whatever their number.
dataset = dict(type='ImageNet', data_root='data/imagenet', metainfo=dict(classes=None))
train_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(split='train', pipeline=train_pipeline, **dataset),
    batch_size=128,
    collate_fn=dict(type='default_collate'),
    **workers,
)
val_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(split='val', pipeline=test_pipeline, **dataset),
    batch_size=128,
    collate_fn=dict(type='default_collate'),
    **workers,
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
val_cfg = dict()
test_cfg = dict()
