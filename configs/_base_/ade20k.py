"""ADE20K for segmentation in crops of 512: what is loaded, how it is augmented and tested.

data/ade/ADEChallengeData2016/{images,annotations}/{training,validation}; in an annotation 0 is
unlabelled and 1 to 150 are the classes. https://groups.csail.mit.edu/vision/datasets/ADE20K/
"""

crop_size = (512, 512)
# Longest and shortest edge of a resized photo.
scale = (2048, 512)
tta_ratios = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)

load = dict(type='LoadImageFromFile')
load_annotation = [
    dict(type='LoadAnnotations'),
    dict(type='beit_mm.CheckAnnotation', num_classes=150),
]
resize = dict(type='Resize', keep_ratio=True)
random_resize = dict(type='RandomResize', ratio_range=(0.5, 2.0), keep_ratio=True)
random_crop = dict(type='RandomCrop', cat_max_ratio=0.75)
augment = [dict(type='RandomFlip', prob=0.5), dict(type='PhotoMetricDistortion')]
pack = dict(type='PackSegInputs')

# The annotation is loaded after the photo is resized: it is tested at its own size. Under this name
# MMSegmentation's inference_model looks for it too.
test_pipeline = [load, dict(resize, scale=scale), *load_annotation, pack]

loader = dict(num_workers=4, persistent_workers=True)
dataset = dict(type='ADE20KDataset', data_root='data/ade/ADEChallengeData2016')
train_dataloader = dict(
    batch_size=2,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        pipeline=[
            load,
            *load_annotation,
            dict(random_resize, scale=scale),
            dict(random_crop, crop_size=crop_size),
            *augment,
            pack,
        ],
        **dataset,
    ),
    **loader,
)
val_dataloader = dict(
    batch_size=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        pipeline=test_pipeline,
        **dataset,
    ),
    **loader,
)
test_dataloader = val_dataloader
# Of --tta, behind the resizing to several scales.
tta_steps = [
    [dict(type='RandomFlip', prob=p, direction='horizontal') for p in (0.0, 1.0)],
    [load_annotation[0]],
    [load_annotation[1]],
    [pack],
]
tta_scales = [dict(resize, scale=(int(scale[0] * r), int(scale[1] * r))) for r in tta_ratios]
tta_pipeline = [load, dict(type='TestTimeAug', transforms=[tta_scales, *tta_steps])]
