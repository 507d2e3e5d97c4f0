"""ADE20K in crops of 640; see ade20k.py."""

_base_ = ['./ade20k.py']

crop_size = (640, 640)
scale = (2560, 640)

train_dataloader = dict(
    dataset=dict(
        pipeline=[
            *_base_.load,
            *_base_.load_annotation,
            dict(type='RandomResize', scale=scale, ratio_range=(0.5, 2.0), keep_ratio=True),
            dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
            *_base_.augment,
        ]
    )
)
val_dataloader = dict(
    dataset=dict(
        pipeline=[
            *_base_.load,
            dict(type='Resize', scale=scale, keep_ratio=True),
            *_base_.load_annotation,
            dict(type='PackSegInputs'),
        ]
    )
)
test_dataloader = val_dataloader
tta_pipeline = [
    *_base_.load,
    dict(
        type='TestTimeAug',
        transforms=[
            [
                dict(type='Resize', scale=(int(scale[0] * r), int(scale[1] * r)), keep_ratio=True)
                for r in _base_.tta_ratios
            ],
            _base_.flips,
            [_base_.load_annotation[0]],
            [_base_.load_annotation[1]],
            [dict(type='PackSegInputs')],
        ],
    ),
]
