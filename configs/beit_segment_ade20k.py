"""BEiT-B with the SETR-PUP layer on ADE20K, 512 x 512, 160k steps (arXiv 2106.08254, 3.2).

    tools/dist_train.sh configs/beit_segment_ade20k.py 8
    python tools/test.py configs/beit_segment_ade20k.py CHECKPOINT [--tta]

Starts from work_dirs/beit_pretrain/epoch_800.pth; model.backbone.init_cfg.checkpoint takes any
public layout of any resolution. A step sees 16 images: keep GPUs x train_dataloader.batch_size at
16. Tested with a sliding window; whole photos by --cfg-options model.test_cfg.mode=whole.

Expected: 45.6 mIoU (paper, table 3). Not run at this length here.

Data: see configs/_base_/ade20k.py.
"""

_base_ = ['./_base_/segmentor.py', './_base_/ade20k.py']

norm_cfg = dict(type='SyncBN', requires_grad=True)

model = dict(
    decode_head=dict(
        type='beit_mm.SETRPUPHead',
        in_channels=768,
        channels=256,
        in_index=3,
        patch_size={{_base_.patch_size}},
        num_classes=150,
        dropout_ratio=0,
        norm_cfg=norm_cfg,
        loss_decode=dict(type='CrossEntropyLoss', loss_weight=1.0),
    ),
    # SETR's: one convolution and x4, on three earlier depths.
    auxiliary_head=[
        dict(
            type='SETRUPHead',
            in_channels=768,
            channels=256,
            in_index=index,
            num_convs=1,
            up_scale=4,
            kernel_size=3,
            num_classes=150,
            dropout_ratio=0,
            norm_cfg=norm_cfg,
            loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4),
        )
        for index in range(3)
    ],
)
