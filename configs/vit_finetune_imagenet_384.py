"""ViT-B/16, fine-tuned on ImageNet-1k at 384 by SGD (arXiv 2010.11929).

    tools/dist_train.sh configs/vit_finetune_imagenet_384.py 8

Starts from configs/vit_pretrain_imagenet21k.py; another checkpoint, in any public layout, by
--cfg-options model.backbone.init_cfg.checkpoint=FILE. Positions are resampled to the grid of 24 x
24; the classifier is one linear layer that begins at zero.

Recipe: 20,000 steps of 512 images, which are 8 epochs, momentum 0.9, no weight decay, cosine,
clipping at 1 (table 4, B.1.1). The paper chooses the rate among 0.003, 0.01, 0.03 and 0.06 on 1 %
of the training images: optim_wrapper.optimizer.lr=...
An optimizer step sees 512 images whatever the number of GPUs.

Of what the paper does not say, no dropout at this size and crops from 5 % of the area on are as in
the released code. That also lets the rate rise over the first 500 steps, and tests on the whole
image, squeezed to 384 x 384; here there is no warm-up, and the test is on the middle 384 of an
image whose short edge is 384.

Expected: 84.0 % top-1 after ImageNet-21k, 77.9 % after vit_scratch_imagenet.py (table 5); 84.5 % by
the released code from its own weights (github.com/google-research/vision_transformer).
"""

_base_ = ['./vit_scratch_imagenet.py']

max_epochs = 8

model = dict(
    backbone=dict(
        img_size=384,
        drop_rate=0.0,
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/vit_pretrain_imagenet21k/epoch_90.pth'
        ),
    ),
    head=dict(
        _delete_=True,
        type='LinearClsHead',
        num_classes=1000,
        in_channels=768,
        loss=dict(type='CrossEntropyLoss'),
        init_cfg=dict(type='Constant', layer='Linear', val=0.0),
    ),
)
train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = 384
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = 384
test_pipeline[2].crop_size = 384
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=train_pipeline))
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
    ),
]
custom_hooks = [dict(type='beit_mm.GlobalBatchSizeHook', global_batch_size=512)]
