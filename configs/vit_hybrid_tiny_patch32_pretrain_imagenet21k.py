"""R+ViT-Ti/16, supervised pre-training on ImageNet-21k, 90 epochs (arXiv 2010.11929).

    tools/dist_train.sh configs/vit_hybrid_tiny_patch32_pretrain_imagenet21k.py 16

ViT-Ti on the root of a ResNet, one convolution and a pooling, 4 times smaller than the image, in
patches of 8 x 8: a token covers 32 x 32 pixels, whatever the name says (AugReg, arXiv 2106.10270).
The recipe of vit_pretrain_imagenet21k.py.

Expected: nothing is published for this recipe. AugReg's file of this size, 300 epochs of cosine
with neither augmentation nor dropout, reaches 75.4 % top-1 on ImageNet-1k after
vit_hybrid_tiny_patch32_finetune_imagenet_384.py (github.com/google-research/vision_transformer).
"""

_base_ = ['./vit_pretrain_imagenet21k.py']

model = dict(
    backbone=dict(
        arch='tiny',
        patch_size=32,
        stem=dict(type='beit_mm.HybridStem', stages=()),
    ),
    head=dict(in_channels=192, hidden_dim=192),
)
