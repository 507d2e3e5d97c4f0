"""ViT-L/16, supervised pre-training on ImageNet-21k, 90 epochs.

    tools/dist_train.sh configs/vit_large_pretrain_imagenet21k.py 64

The recipe of vit_pretrain_imagenet21k.py (table 3). It has 30 epochs too.

Expected: 85.2 % top-1 on ImageNet-1k after vit_large_finetune_imagenet_384.py
(arXiv 2010.11929, table 5).
"""

_base_ = ['./vit_pretrain_imagenet21k.py']

model = dict(
    backbone=dict(arch='large'),
    head=dict(in_channels=1024, hidden_dim=1024),
)
train_dataloader = dict(batch_size=64)
