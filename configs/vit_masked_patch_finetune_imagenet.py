"""ViT-B/16 after masked patch prediction, fine-tuned on ImageNet-1k at 384 (2010.11929, B.1.1).

    tools/dist_train.sh configs/vit_masked_patch_finetune_imagenet.py 16

Starts from configs/vit_masked_patch_pretrain.py; another checkpoint by --cfg-options
model.backbone.init_cfg.checkpoint=FILE. Positions are resampled to 24 x 24, the classifier begins
at zero and reads [S]. SGD with momentum, 512 images a step whatever the number of GPUs, 20k steps,
which are 8 epochs, cosine, clipping at 1, crops and flips alone. The paper takes the best rate of
0.003, 0.01, 0.03 and 0.06: --cfg-options optim_wrapper.optimizer.lr=0.01

Expected: 79.9 % top-1 (section 4.6).
"""

_base_ = ['./beit_finetune_imagenet.py']

global_batch_size = 512
max_epochs = 8

model = dict(
    backbone=dict(
        _delete_=True,
        type='beit_mm.VisionTransformer',
        arch='base',
        img_size=384,
        patch_size=16,
        positions='learned',
        out_type='cls_token',
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/vit_masked_patch_pretrain/epoch_3200.pth'
        ),
    ),
    head=dict(
        loss=dict(_delete_=True, type='CrossEntropyLoss'),
        init_cfg=dict(_delete_=True, type='Constant', layer='Linear', val=0.0),
    ),
    # As in pre-training.
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    train_cfg=None,
)
# Crop and flip alone.
train_pipeline = [*_base_.train_pipeline[:3], *_base_.train_pipeline[-1:]]
train_pipeline[1].update(scale=384, crop_ratio_range=(0.05, 1.0))
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = 384
test_pipeline[2].crop_size = 384
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.03, momentum=0.9, weight_decay=0.0),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        eta_min=0.0,
        by_epoch=True,
        begin=0,
        end=max_epochs,
        convert_to_iter_based=True,
    )
]
custom_hooks = [dict(type='beit_mm.GlobalBatchSizeHook', global_batch_size=global_batch_size)]
