"""ViT-B/16 from scratch on ImageNet-1k, 300 epochs (arXiv 2010.11929).

    tools/dist_train.sh configs/vit_scratch_imagenet.py 32

Recipe: 4096 images a step, Adam with weight decay 0.3 and rate 3e-3, warm-up for 10,000 steps,
which are 32 epochs, cosine, clipping at 1, dropout 0.1 (table 3). The classifier has a tanh layer
on [S] (D.3). An optimizer step sees 4096 images whatever the number of GPUs. What the paper leaves
open follows the authors' code: the decay is decoupled, relative to the rate, as Adam has it in
Flax; images are cropped, from 5 % of their area on, and flipped, and no more. Their loss is a
sigmoid of each class, which the paper does not say either; here it is softmax.

Expected: 74.8 % top-1 at the end of this run (the authors,
github.com/google-research/vision_transformer/issues/62), 77.9 % after fine-tuning at 384
(table 5), which is vit_finetune_imagenet_384.py with
model.backbone.init_cfg.checkpoint=work_dirs/vit_scratch_imagenet/epoch_300.pth
"""

_base_ = ['./beit_finetune_imagenet.py']

max_epochs = 300
warmup_epochs = 32

model = dict(
    backbone=dict(
        _delete_=True,
        type='beit_mm.VisionTransformer',
        arch='base',
        img_size=224,
        patch_size=16,
        positions='learned',
        out_type='cls_token',
        drop_rate=0.1,
    ),
    head=dict(
        _delete_=True,
        type='VisionTransformerClsHead',
        num_classes=1000,
        in_channels=768,
        hidden_dim=768,
        loss=dict(type='CrossEntropyLoss'),
    ),
    # The released weights see values from -1 to 1.
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    train_cfg=None,
)
# Crop and flip alone.
train_pipeline = [*_base_.train_pipeline[:3], *_base_.train_pipeline[-1:]]
train_pipeline[1].crop_ratio_range = (0.05, 1.0)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(
    paramwise_cfg=dict(layer_decay_rate=1.0),
    optimizer=dict(lr=3e-3, weight_decay=0.3),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = _base_.param_scheduler
param_scheduler[0].end = warmup_epochs
param_scheduler[1].update(begin=warmup_epochs, end=max_epochs, eta_min_ratio=0.0)
custom_hooks = [dict(type='beit_mm.GlobalBatchSizeHook', global_batch_size=4096)]
