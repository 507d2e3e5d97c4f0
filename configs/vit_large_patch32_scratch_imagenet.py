"""ViT-L/32 from scratch on ImageNet-1k.

    tools/dist_train.sh configs/vit_large_patch32_scratch_imagenet.py 32

The recipe of vit_scratch_imagenet.py (table 3).

Expected: 66.9 % top-1 at the end of this run (the authors,
github.com/google-research/vision_transformer/issues/62), 71.2 % after fine-tuning at 384
(arXiv 2010.11929, table 5).
"""

_base_ = ['./vit_scratch_imagenet.py']

model = dict(
    backbone=dict(arch='large', patch_size=32),
    head=dict(in_channels=1024, hidden_dim=1024),
)
