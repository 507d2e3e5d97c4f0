"""R50+ViT-L/32, fine-tuned on ImageNet-1k at 384 by SGD (arXiv 2010.11929).

    tools/dist_train.sh configs/vit_hybrid_large_patch32_finetune_imagenet_384.py 16

The recipe of vit_finetune_imagenet_384.py; starts from
configs/vit_hybrid_large_patch32_pretrain_imagenet21k.py, or from public weights by
--cfg-options model.backbone.init_cfg.checkpoint=FILE. Its rate is 0.01, as AugReg chose.

Expected: 86.0 % top-1 from AugReg's weights (github.com/google-research/vision_transformer).
"""

_base_ = ['./vit_finetune_imagenet_384.py']

model = dict(
    backbone=dict(
        arch='large',
        patch_size=32,
        stem=dict(type='beit_mm.HybridStem', stages=(3, 4, 6, 3)),
        init_cfg=dict(
            checkpoint='work_dirs/vit_hybrid_large_patch32_pretrain_imagenet21k/epoch_90.pth'
        ),
    ),
    head=dict(in_channels=1024),
)
train_dataloader = dict(batch_size=32)
optim_wrapper = dict(optimizer=dict(lr=0.01))
