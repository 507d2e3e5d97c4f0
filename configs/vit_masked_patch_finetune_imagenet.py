"""ViT-B/16 after masked patch prediction, fine-tuned on ImageNet-1k at 384 (2010.11929, B.1.1).

    tools/dist_train.sh configs/vit_masked_patch_finetune_imagenet.py 8

Starts from configs/vit_masked_patch_pretrain.py; another checkpoint by --cfg-options
model.backbone.init_cfg.checkpoint=FILE. All else as configs/vit_finetune_imagenet_384.py says.

Expected: 79.9 % top-1 (section 4.6).
"""

_base_ = ['./vit_finetune_imagenet_384.py']

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/vit_masked_patch_pretrain/epoch_3200.pth'))
)
