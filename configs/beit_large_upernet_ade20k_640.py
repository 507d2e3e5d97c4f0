"""BEiT-L with UPerNet on ADE20K, 640 x 640, 160k steps, from weights fine-tuned on ImageNet-22k.

    tools/dist_train.sh configs/beit_large_upernet_ade20k_640.py 8 --amp
    python tools/test.py configs/beit_large_upernet_ade20k_640.py CHECKPOINT [--tta]

Download beit_large_patch16_224_pt22k_ft22k.pth, or set model.backbone.init_cfg.checkpoint. One
image a GPU and gradients of two iterations together: 320k iterations are 160k steps of 16 images.

Expected: 56.3 mIoU, 56.8 with --tta (MMSegmentation's model zoo). Not run at this length here.
"""

_base_ = ['./beit_upernet_ade20k_640.py']

max_iters = 320_000
warmup_iters = 3000

model = dict(
    backbone=dict(
        arch='large',
        drop_path_rate=0.2,
        layer_scale_init_value=1e-5,
        out_indices=(7, 11, 15, 23),
        with_cp=True,
        init_cfg=dict(checkpoint='checkpoints/beit_large_patch16_224_pt22k_ft22k.pth'),
    ),
    neck=dict(embed_dim=1024),
    decode_head=dict(in_channels=[1024, 1024, 1024, 1024], channels=1024),
    auxiliary_head=dict(in_channels=1024),
)
train_dataloader = dict(batch_size=1)
train_cfg = dict(max_iters=max_iters)
optim_wrapper = dict(
    accumulative_counts=2,
    paramwise_cfg=dict(layer_decay_rate=0.95),
    optimizer=dict(lr=2e-5),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=warmup_iters),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=warmup_iters, end=max_iters),
]
