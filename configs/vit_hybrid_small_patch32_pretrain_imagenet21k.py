"""R26+ViT-S/32, supervised pre-training on ImageNet-21k, 90 epochs (arXiv 2010.11929).

    tools/dist_train.sh configs/vit_hybrid_small_patch32_pretrain_imagenet21k.py 16

ViT-S on the feature map of a ResNet-26, 32 times smaller than the image; a token is one place of
it (AugReg, arXiv 2106.10270).
The recipe of vit_pretrain_imagenet21k.py.

Expected: nothing is published for this recipe. AugReg's file of this size, 300 epochs of cosine
with decay 0.1, light augmentation and no dropout, reaches 83.9 % top-1 on ImageNet-1k after
vit_hybrid_small_patch32_finetune_imagenet_384.py (github.com/google-research/vision_transformer).
"""

_base_ = ['./vit_pretrain_imagenet21k.py']

model = dict(
    backbone=dict(
        arch='small',
        patch_size=32,
        stem=dict(type='beit_mm.HybridStem', stages=(2, 2, 2, 2)),
    ),
    head=dict(in_channels=384, hidden_dim=384),
)
