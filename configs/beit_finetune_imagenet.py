"""BEiT-B, fine-tuned for 100 epochs on ImageNet-1k at 224 (arXiv 2106.08254).

    tools/dist_train.sh configs/beit_finetune_imagenet.py 8

Starts from configs/beit_pretrain.py; another checkpoint, in any public layout, by --cfg-options
model.backbone.init_cfg.checkpoint=FILE. Weights that were pre-trained on ImageNet-22k, such as
Microsoft's beit_base_patch16_224_pt22k.pth, saw other colours: add
model.data_preprocessor.mean=127.5,127.5,127.5 model.data_preprocessor.std=127.5,127.5,127.5

An optimizer step sees 1024 images whatever the number of GPUs.

Expected: 83.2 % top-1 (paper, table 1); recipe of the released code:
https://github.com/microsoft/unilm/blob/master/beit/get_started_for_image_classification.md
"""

_base_ = ['./_base_/default_runtime.py', './_base_/imagenet_classification.py']

model = dict(
    _scope_='mmpretrain',
    type='ImageClassifier',
    backbone=dict(
        type='beit_mm.BEiT',
        arch='base',
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,
        out_type='avg_featmap',
        use_rel_pos_bias=True,
        layer_scale_init_value=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/beit_pretrain/epoch_800.pth'),
    ),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        in_channels=768,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        # The released code's initial head, 0.02 cut at one std, is scaled by 0.001.
        init_cfg=dict(type='TruncNormal', layer='Linear', std=2e-5, a=-2e-5, b=2e-5),
    ),
    data_preprocessor=dict(
        num_classes=1000,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)

train_cfg = dict(by_epoch=True, max_epochs=100)
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='beit_mm.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.65),
    optimizer=dict(
        type='beit_mm.FusedAdamW', lr=4e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05
    ),
)
# Every depth goes down to the same part of its own rate, as in the released code: to 1e-6 in the
# head, to less below it.
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-4,
        by_epoch=True,
        begin=0,
        end=20,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=1e-6 / 4e-3,
        by_epoch=True,
        begin=20,
        end=100,
        convert_to_iter_based=True,
    ),
]
custom_hooks = [dict(type='beit_mm.GlobalBatchSizeHook', global_batch_size=1024)]
