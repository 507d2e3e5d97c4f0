"""BEiT-B with UPerNet on ADE20K, 640 x 640, 160k steps, from weights fine-tuned on ImageNet-22k.

    tools/dist_train.sh configs/beit_upernet_ade20k_640.py 8
    python tools/test.py configs/beit_upernet_ade20k_640.py CHECKPOINT [--tta]

Download beit_base_patch16_224_pt22k_ft22k.pth, or set model.backbone.init_cfg.checkpoint. A step
sees 16 images: keep GPUs x train_dataloader.batch_size at 16.

Expected: 53.1 mIoU, 53.8 with --tta (MMSegmentation's model zoo, the same recipe). Not run at this
length here.
"""

_base_ = ['./_base_/upernet.py', './_base_/ade20k_640.py']

model = dict(
    data_preprocessor=dict(size=(640, 640)),
    backbone=dict(
        img_size=640,
        init_cfg=dict(checkpoint='checkpoints/beit_base_patch16_224_pt22k_ft22k.pth'),
    ),
    test_cfg=dict(crop_size=(640, 640), stride=(426, 426)),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.9), optimizer=dict(lr=3e-5))
