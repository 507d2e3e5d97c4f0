"""Linear probe of MAE's ViT-B: a linear classifier on the frozen [S], 90 epochs (2111.06377, A.1).

    tools/dist_train.sh configs/mae_linear_probe.py 32

[S] behind the last LayerNorm passes a batch norm without scale and shift, which brings features
of masked image modelling to one size, and then the classifier. No decay, crops and flips alone.

An optimizer step sees 16384 images whatever the number of GPUs, 32 x 512 at once; the rate of LARS
is 0.1 for each 256. With few GPUs the batch norm sees those of one iteration.

Expected: 68.0 % top-1 after 1600 epochs of pre-training (paper, table 12); 67.8 % by the released
code.
"""

_base_ = ['./mae_finetune_imagenet.py']

global_batch_size = 16384
max_epochs = 90
warmup_epochs = 10

model = dict(
    backbone=dict(out_type='cls_token', frozen_stages=12, drop_path_rate=0.0),
    neck=dict(type='ClsBatchNormNeck', input_features=768, affine=False, eps=1e-6),
    head=dict(
        loss=dict(_delete_=True, type='CrossEntropyLoss'),
        init_cfg=dict(_delete_=True, type='Normal', layer='Linear', std=0.01),
    ),
    train_cfg=None,
)
# Crop and flip alone.
train_pipeline = [*_base_.train_pipeline[:3], *_base_.train_pipeline[-1:]]
train_dataloader = dict(batch_size=512, dataset=dict(pipeline=train_pipeline))

train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(
        type='beit_mm.LARS', lr=0.1 * global_batch_size / 256, momentum=0.9, weight_decay=0.0
    ),
)
param_scheduler = _base_.param_scheduler
param_scheduler[0].end = warmup_epochs
param_scheduler[1].update(begin=warmup_epochs, end=max_epochs, eta_min_ratio=0.0)
custom_hooks = [dict(type='beit_mm.GlobalBatchSizeHook', global_batch_size=global_batch_size)]
