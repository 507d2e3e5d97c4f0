"""Claims, variant `pixels`: the patches' own pixels in place of visual tokens.

    python tools/train.py configs/claims/pixels.py

The second view has the first one's size, filter and normalisation, so that it holds the pixels
that the backbone would see. Figures: benchmarks/results/claims_tiny_imagenet.md.
"""

_base_ = ['./pretrain.py']

patch_size = {{_base_.patch_size}}
model = dict(
    target_generator=dict(
        _delete_=True, type='beit_mm.PixelTargetGenerator', patch_size=patch_size
    ),
    head=dict(
        _delete_=True,
        type='beit_mm.PixelHead',
        embed_dims={{_base_.embed_dims}},
        num_values=_base_.patch_size**2 * 3,
        num_masked={{_base_.num_masked}},
    ),
    data_preprocessor=dict(
        second_mean=[123.675, 116.28, 103.53], second_std=[58.395, 57.12, 57.375]
    ),
)
same_view = dict(second_size={{_base_.image_size}}, second_interpolation='bicubic')
train_steps = [*_base_.train_steps[:-1], dict(_base_.train_steps[-1], **same_view)]
val_steps = [*_base_.val_steps[:-1], dict(_base_.val_steps[-1], **same_view)]
train_dataloader = dict(dataset=dict(pipeline=[*train_steps, _base_.mask, _base_.pack]))
val_dataloader = dict(dataset=dict(pipeline=[*val_steps, _base_.mask, _base_.pack]))
test_dataloader = val_dataloader
val_evaluator = dict(type='beit_mm.MIMError')
test_evaluator = val_evaluator
