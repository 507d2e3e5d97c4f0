"""Masked patch prediction whose targets are all pixels of each patch, by squared error.

    tools/dist_train.sh configs/vit/pixels.py 32

256 regressions of three channels, of pixels in [0, 1].

Expected: slightly worse than both kinds of colours (B.1.2); no figure.
"""

_base_ = ['../vit_masked_patch_pretrain.py']

model = dict(
    target_generator=dict(_delete_=True, type='beit_mm.PixelTargetGenerator', patch_size=16),
    head=dict(
        _delete_=True, type='beit_mm.PixelHead', embed_dims=768, num_values=768, num_masked=98
    ),
)
test_evaluator = dict(type='beit_mm.MIMError')
