"""R50+ViT-B/16, supervised pre-training on ImageNet-21k, 90 epochs (arXiv 2010.11929).

    tools/dist_train.sh configs/vit_hybrid_pretrain_imagenet21k.py 32

ViT-B on the feature map of a ResNet-50 that has the fourth stage's blocks in its third: 16 times
smaller than the image, and a token is one place of it.
The recipe of vit_pretrain_imagenet21k.py.

Expected: 85.1 % top-1 on ImageNet-1k after vit_hybrid_finetune_imagenet_384.py, as the JAX
release's file of this size has (github.com/google-research/vision_transformer). The paper
pre-trains its hybrids on JFT.
"""

_base_ = ['./vit_pretrain_imagenet21k.py']

model = dict(
    backbone=dict(
        patch_size=16,
        stem=dict(type='beit_mm.HybridStem', stages=(3, 4, 9)),
    ),
)
