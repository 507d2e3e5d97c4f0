"""Linear probe of MAE's ViT-H/14: the recipe of mae_linear_probe.py with the huge network.

    tools/dist_train.sh configs/mae_huge_linear_probe.py 32

Starts from configs/mae_huge_pretrain_1600.py.

Expected: 76.6 % top-1 after 1600 epochs of pre-training (paper, table 12); 77.2 % by the released
code, where 50 epochs do.
"""

_base_ = ['./mae_linear_probe.py']

model = dict(
    backbone=dict(
        arch='huge',
        patch_size=14,
        frozen_stages=32,
        init_cfg=dict(checkpoint='work_dirs/mae_huge_pretrain_1600/epoch_1600.pth'),
    ),
    neck=dict(input_features=1280),
    head=dict(in_channels=1280),
)
