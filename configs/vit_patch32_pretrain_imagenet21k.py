"""ViT-B/32, supervised pre-training on ImageNet-21k, 90 epochs.

    tools/dist_train.sh configs/vit_patch32_pretrain_imagenet21k.py 32

The recipe of vit_pretrain_imagenet21k.py (table 3).

Expected: 81.3 % top-1 on ImageNet-1k after fine-tuning at 384 (arXiv 2010.11929,
table 5).
"""

_base_ = ['./vit_pretrain_imagenet21k.py']

model = dict(
    backbone=dict(patch_size=32),
)
