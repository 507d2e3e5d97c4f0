"""Linear probe of a pre-trained BEiT-B: a linear classifier on frozen features, 50 epochs.

    tools/dist_train.sh configs/beit_linear_probe.py 8

The mean of the patches' features after one block, normalised to mean 0 and variance 1, is all that
the classifier sees. Masked image modelling has its best features in the middle: this takes the
ninth block of twelve, model.backbone.out_indices=K the block with index K from 0.

An optimizer step sees 1024 images whatever the number of GPUs.

Expected: far below fine-tuning's 83.2 %; no figure is published for this very setting. Batch, rates
and pipeline are the released code's, which also feeds the classifier the [S] token:
https://github.com/microsoft/unilm/blob/master/beit/run_linear_eval.py
"""

_base_ = ['./beit_finetune_imagenet.py']

model = dict(
    backbone=dict(out_indices=8, frozen_stages=12, drop_path_rate=0.0),
    head=dict(
        loss=dict(_delete_=True, type='CrossEntropyLoss'),
        init_cfg=dict(_delete_=True, type='Normal', layer='Linear', std=0.01),
    ),
    train_cfg=None,
)
# Crop and flip alone.
train_pipeline = [*_base_.train_pipeline[:3], *_base_.train_pipeline[-1:]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

train_cfg = dict(max_epochs=50)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='beit_mm.FusedAdamW', lr=4e-3, weight_decay=1e-4),
)
param_scheduler = [
    dict(type='CosineAnnealingLR', eta_min=0, by_epoch=True, end=50, convert_to_iter_based=True),
]
