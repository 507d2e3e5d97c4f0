"""BEiT-L, fine-tuned for 50 epochs on ImageNet-1k at 224 (arXiv 2106.08254).

    tools/dist_train.sh configs/beit_large_finetune_imagenet.py 16

The recipe of beit_finetune_imagenet.py with the large network, starting from
configs/beit_large_pretrain.py; 16 x 64 images at once.

Expected: 85.2 % top-1 (paper, table 1).
"""

_base_ = ['./beit_finetune_imagenet.py']

model = dict(
    backbone=dict(
        arch='large',
        drop_path_rate=0.2,
        layer_scale_init_value=1e-5,
        init_cfg=dict(checkpoint='work_dirs/beit_large_pretrain/epoch_800.pth'),
    ),
    head=dict(in_channels=1024),
)
train_dataloader = dict(batch_size=64)

train_cfg = dict(max_epochs=50)
optim_wrapper = dict(
    paramwise_cfg=dict(layer_decay_rate=0.75),
    optimizer=dict(lr=1e-3),
)
param_scheduler = _base_.param_scheduler
param_scheduler[0].end = 5
param_scheduler[1].update(begin=5, end=50, eta_min_ratio=1e-6 / 1e-3)
