"""R50+ViT-B/16, fine-tuned on ImageNet-1k at 384 by SGD (arXiv 2010.11929).

    tools/dist_train.sh configs/vit_hybrid_finetune_imagenet_384.py 16

The recipe of vit_finetune_imagenet_384.py; starts from
configs/vit_hybrid_pretrain_imagenet21k.py, or from public weights by
--cfg-options model.backbone.init_cfg.checkpoint=FILE. Dropout stays at 0.1,
without which the release reports 83.7.

Expected: 85.1 % top-1 (github.com/google-research/vision_transformer).
"""

_base_ = ['./vit_finetune_imagenet_384.py']

model = dict(
    backbone=dict(
        patch_size=16,
        stem=dict(type='beit_mm.HybridStem', stages=(3, 4, 9)),
        drop_rate=0.1,
        init_cfg=dict(checkpoint='work_dirs/vit_hybrid_pretrain_imagenet21k/epoch_90.pth'),
    ),
)
train_dataloader = dict(batch_size=32)
