"""BEiT-B at 384: ten more epochs on ImageNet-1k after fine-tuning at 224 (arXiv 2106.08254).

    tools/dist_train.sh configs/beit_finetune_imagenet_384.py 16

Starts from configs/beit_finetune_imagenet.py, head included; relative positions are resampled to
the 24 x 24 grid. Tests on the middle 384 of an image whose short edge is 384.

The ten epochs are the paper's, which gives no other number. Rates, batch and augmentation are those
of the released code for weights that have seen labels (beit_finetune_from_intermediate.py), which
it uses at 384 too; one epoch of warm-up is this project's choice.

Expected: 84.6 % top-1 (paper, table 1).
"""

_base_ = ['./beit_finetune_from_intermediate.py']

load_from = 'work_dirs/beit_finetune_imagenet/epoch_100.pth'
model = dict(backbone=dict(img_size=384, init_cfg=None))

train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = 384
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = 384
test_pipeline[2].crop_size = 384
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

train_cfg = dict(max_epochs=10)
param_scheduler = _base_.param_scheduler
param_scheduler[0].end = 1
param_scheduler[1].update(begin=1, end=10)
