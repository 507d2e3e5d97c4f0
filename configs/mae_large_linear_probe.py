"""Linear probe of MAE's ViT-L: the recipe of mae_linear_probe.py with the large network.

    tools/dist_train.sh configs/mae_large_linear_probe.py 32

Starts from configs/mae_large_pretrain_1600.py.

Expected: 75.8 % top-1 after 1600 epochs of pre-training (paper, table 12); 76.0 % by the released
code, where 50 epochs do.
"""

_base_ = ['./mae_linear_probe.py']

model = dict(
    backbone=dict(
        arch='large',
        frozen_stages=24,
        init_cfg=dict(checkpoint='work_dirs/mae_large_pretrain_1600/epoch_1600.pth'),
    ),
    neck=dict(input_features=1024),
    head=dict(in_channels=1024),
)
