"""ViT-L/16 from scratch on ImageNet-1k.

    tools/dist_train.sh configs/vit_large_scratch_imagenet.py 64

The recipe of vit_scratch_imagenet.py (table 3).

Expected: 72.6 % top-1 at the end of this run (the authors,
github.com/google-research/vision_transformer/issues/62), 76.5 % after fine-tuning at 384
(arXiv 2010.11929, table 5).
"""

_base_ = ['./vit_scratch_imagenet.py']

model = dict(
    backbone=dict(arch='large'),
    head=dict(in_channels=1024, hidden_dim=1024),
)
train_dataloader = dict(batch_size=64)
