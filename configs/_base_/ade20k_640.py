"""ADE20K in crops of 640; see ade20k.py."""

_base_ = ['./ade20k.py']

crop_size = (640, 640)
scale = (2560, 640)
resize = dict(_base_.resize, scale=scale)
random_resize = dict(_base_.random_resize, scale=scale)
random_crop = dict(_base_.random_crop, crop_size=crop_size)

train_dataloader = dict(
    dataset=dict(
        pipeline=[
            _base_.load,
            *_base_.load_annotation,
            random_resize,
            random_crop,
            *_base_.augment,
            _base_.pack,
        ]
    )
)
test_pipeline = [_base_.load, resize, *_base_.load_annotation, _base_.pack]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
tta_scales = [
    dict(_base_.resize, scale=(int(scale[0] * r), int(scale[1] * r))) for r in _base_.tta_ratios
]
tta_pipeline = [
    _base_.load,
    dict(type='TestTimeAug', transforms=[tta_scales, *_base_.tta_steps]),
]
