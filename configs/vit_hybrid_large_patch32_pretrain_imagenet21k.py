"""R50+ViT-L/32, supervised pre-training on ImageNet-21k, 90 epochs (arXiv 2010.11929).

    tools/dist_train.sh configs/vit_hybrid_large_patch32_pretrain_imagenet21k.py 64

ViT-L on the feature map of a ResNet-50 of four stages, 32 times smaller than the image; a token is
one place of it.
The recipe of vit_pretrain_imagenet21k.py.

Expected: nothing is published for this recipe. AugReg's file of this size, 300 epochs of cosine
with decay 0.1, RandAugment, mixup and stochastic depth, reaches 86.0 % top-1 on ImageNet-1k after
vit_hybrid_large_patch32_finetune_imagenet_384.py (github.com/google-research/vision_transformer).
"""

_base_ = ['./vit_pretrain_imagenet21k.py']

model = dict(
    backbone=dict(
        arch='large',
        patch_size=32,
        stem=dict(type='beit_mm.HybridStem', stages=(3, 4, 6, 3)),
    ),
    head=dict(in_channels=1024, hidden_dim=1024),
)
train_dataloader = dict(batch_size=64)
