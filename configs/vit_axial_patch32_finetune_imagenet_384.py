"""Axial-ViT-B/32, fine-tuned on ImageNet-1k at 384 by SGD (arXiv 2010.11929, D.6).

    tools/dist_train.sh configs/vit_axial_patch32_finetune_imagenet_384.py 16

The recipe of vit_finetune_imagenet_384.py; starts from
configs/vit_axial_patch32_pretrain_imagenet21k.py.

Expected: nothing is published; the paper shows 5-shot figures alone.
"""

_base_ = ['./vit_finetune_imagenet_384.py']

model = dict(
    backbone=dict(
        type='beit_mm.AxialVisionTransformer',
        patch_size=32,
        out_type='avg_featmap',
        init_cfg=dict(checkpoint='work_dirs/vit_axial_patch32_pretrain_imagenet21k/epoch_90.pth'),
    ),
)
train_dataloader = dict(batch_size=32)
