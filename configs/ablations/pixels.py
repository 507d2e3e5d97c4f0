"""BEiT-B without visual tokens: the masked patches' pixels are regressed (paper, 3.3).

    tools/dist_train.sh configs/ablations/pixels.py 16

The second view has the first one's size, filter and normalisation, so that it holds the pixels
that the backbone would see. MAE's form, each patch normalised by itself, is
`--cfg-options model.target_generator.normalize=True`.

Expected: 81.04 % ImageNet top-1 after fine-tuning, 41.38 ADE20K mIoU (paper, table 4).
"""

_base_ = ['./full.py']

model = dict(
    target_generator=dict(
        _delete_=True, type='beit_mm.PixelTargetGenerator', patch_size=16, normalize=False
    ),
    head=dict(
        _delete_=True,
        type='beit_mm.PixelHead',
        embed_dims=768,
        num_values=16 * 16 * 3,
        num_masked=75,
    ),
    data_preprocessor=dict(
        second_mean=[123.675, 116.28, 103.53], second_std=[58.395, 57.12, 57.375]
    ),
)
same_view = dict(second_size=224, second_interpolation='bicubic')
train_views = dict(_base_.train_views, **same_view)
test_views = dict(_base_.test_views, **same_view)
train_dataloader = dict(dataset=dict(pipeline=[train_views, _base_.mask, _base_.pack]))
test_dataloader = dict(dataset=dict(pipeline=[_base_.load, test_views, _base_.mask, _base_.pack]))
test_evaluator = dict(type='beit_mm.MIMError')
