"""MAE, ViT-L, pre-trained for 800 epochs on ImageNet-1k without labels (arXiv 2111.06377).

    tools/dist_train.sh configs/mae_large_pretrain.py 64

The recipe of mae_pretrain.py with the large network; 64 x 64 images at once. 42 hours on 64 V100
(released code).

Expected: 85.4 % ImageNet top-1 after fine-tuning for 50 epochs at 224, 73.9 % by a linear probe
(paper, table 1d).
"""

_base_ = ['./mae_pretrain.py']

model = dict(backbone=dict(arch='large'), decoder=dict(encoder_dims=1024))
train_dataloader = dict(batch_size=64)
