"""Axial-ViT-B/32, supervised pre-training on ImageNet-21k, 90 epochs (arXiv 2010.11929, D.6).

    tools/dist_train.sh configs/vit_axial_patch32_pretrain_imagenet21k.py 32

Each block of ViT-B/32 becomes two, along rows and along columns; the mean over the patches is read
out. The recipe of vit_pretrain_imagenet21k.py.

Expected: above ViT-B/32 at more work (paper, figure 13: 5-shot ImageNet after JFT); the paper gives
no numbers, and nothing on ImageNet-21k.
"""

_base_ = ['./vit_pretrain_imagenet21k.py']

model = dict(
    backbone=dict(
        type='beit_mm.AxialVisionTransformer',
        patch_size=32,
        out_type='avg_featmap',
    ),
)
train_dataloader = dict(batch_size=64)
