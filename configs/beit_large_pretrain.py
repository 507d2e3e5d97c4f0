"""BEiT-L, pre-trained for 800 epochs on ImageNet-1k without labels (arXiv 2106.08254).

    tools/dist_train.sh configs/beit_large_pretrain.py 32

The recipe of beit_pretrain.py with the large network; 32 x 64 images at once.

Expected: 85.2 % ImageNet top-1 after fine-tuning for 50 epochs at 224 (paper, table 1).
"""

_base_ = ['./beit_pretrain.py']

model = dict(
    backbone=dict(arch='large', layer_scale_init_value=1e-5),
    head=dict(embed_dims=1024),
)
train_dataloader = dict(batch_size=64)
