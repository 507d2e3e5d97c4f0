"""R+ViT-Ti/16, fine-tuned on ImageNet-1k at 384 by SGD (arXiv 2010.11929).

    tools/dist_train.sh configs/vit_hybrid_tiny_patch32_finetune_imagenet_384.py 8

The recipe of vit_finetune_imagenet_384.py; starts from
configs/vit_hybrid_tiny_patch32_pretrain_imagenet21k.py, or from public weights by
--cfg-options model.backbone.init_cfg.checkpoint=FILE.

Expected: 75.4 % top-1 from AugReg's weights (github.com/google-research/vision_transformer).
"""

_base_ = ['./vit_finetune_imagenet_384.py']

model = dict(
    backbone=dict(
        arch='tiny',
        patch_size=32,
        stem=dict(type='beit_mm.HybridStem', stages=()),
        init_cfg=dict(
            checkpoint='work_dirs/vit_hybrid_tiny_patch32_pretrain_imagenet21k/epoch_90.pth'
        ),
    ),
    head=dict(in_channels=192),
)
train_dataloader = dict(batch_size=64)
