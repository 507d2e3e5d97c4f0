"""BEiT-L at 384: ten more epochs on ImageNet-1k after fine-tuning at 224 (arXiv 2106.08254).

    tools/dist_train.sh configs/beit_large_finetune_imagenet_384.py 32

The recipe of beit_finetune_imagenet_384.py with the large network, starting from
configs/beit_large_finetune_imagenet.py; 32 x 16 images at once.

Expected: 86.3 % top-1 (paper, table 1).
"""

_base_ = ['./beit_finetune_imagenet_384.py']

load_from = 'work_dirs/beit_large_finetune_imagenet/epoch_50.pth'
model = dict(
    backbone=dict(arch='large', drop_path_rate=0.4, layer_scale_init_value=1e-5),
    head=dict(in_channels=1024),
)
train_dataloader = dict(batch_size=16)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.9))
