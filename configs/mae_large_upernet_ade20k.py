"""MAE's ViT-L with UPerNet on ADE20K, 512 x 512, for 100 epochs (arXiv 2111.06377, A.4).

    tools/dist_train.sh configs/mae_large_upernet_ade20k.py 8
    python tools/test.py configs/mae_large_upernet_ade20k.py CHECKPOINT [--tta]

The recipe of mae_upernet_ade20k.py with the large network; depths, rate by depth and stochastic
depth are those of BEiT-L and of mae_large_finetune_imagenet.py; the blocks are computed again
in the backward pass, which saves memory.

Expected: 53.6 mIoU (paper, table 5). Not run at this length here.
"""

_base_ = ['./mae_upernet_ade20k.py']

model = dict(
    backbone=dict(
        arch='large',
        drop_path_rate=0.2,
        out_indices=(7, 11, 15, 23),
        with_cp=True,
        init_cfg=dict(checkpoint='work_dirs/mae_large_pretrain_1600/epoch_1600.pth'),
    ),
    neck=dict(embed_dim=1024),
    decode_head=dict(in_channels=[1024, 1024, 1024, 1024], channels=1024),
    auxiliary_head=dict(in_channels=1024),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.75))
