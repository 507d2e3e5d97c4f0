"""R26+ViT-S/32, fine-tuned on ImageNet-1k at 384 by SGD (arXiv 2010.11929).

    tools/dist_train.sh configs/vit_hybrid_small_patch32_finetune_imagenet_384.py 8

The recipe of vit_finetune_imagenet_384.py; starts from
configs/vit_hybrid_small_patch32_pretrain_imagenet21k.py, or from public weights by
--cfg-options model.backbone.init_cfg.checkpoint=FILE. Its rate is 0.01, as AugReg chose.

Expected: 83.9 % top-1 from AugReg's weights (github.com/google-research/vision_transformer).
"""

_base_ = ['./vit_finetune_imagenet_384.py']

model = dict(
    backbone=dict(
        arch='small',
        patch_size=32,
        stem=dict(type='beit_mm.HybridStem', stages=(2, 2, 2, 2)),
        init_cfg=dict(
            checkpoint='work_dirs/vit_hybrid_small_patch32_pretrain_imagenet21k/epoch_90.pth'
        ),
    ),
    head=dict(in_channels=384),
)
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(lr=0.01))
