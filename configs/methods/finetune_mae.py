"""Methods, fine-tuning: `own/finetune.py` with the plain Vision Transformer that MAE pre-trains.

    python tools/train.py configs/methods/finetune_mae.py

Takes the weights of `own/mae.py`. Figures: benchmarks/results/methods.md.
"""

_base_ = ['../own/finetune.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='beit_mm.VisionTransformer',
        arch={{_base_.arch}},
        img_size={{_base_.image_size}},
        patch_size={{_base_.patch_size}},
        # They start as the sines and cosines that pre-training had.
        positions='learned',
        out_type='avg_featmap',
        drop_path_rate={{_base_.drop_path_rate}},
        init_cfg={{_base_.weights}},
    )
)
