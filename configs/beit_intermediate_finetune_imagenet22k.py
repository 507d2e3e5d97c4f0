"""BEiT-B, intermediate fine-tuning: 90 epochs with the labels of ImageNet-22k (arXiv 2106.08254).

    tools/dist_train.sh configs/beit_intermediate_finetune_imagenet22k.py 16

Between pre-training and the target task; goes on with configs/beit_finetune_from_intermediate.py.
Data: data/imagenet22k/train/<class>/*.JPEG, 21,841 classes, or meta/train.txt, which saves the scan
of 14 million files. There is no validation split; tools/test.py takes data/imagenet22k/val if you
make one. An optimizer step sees 4096 images whatever the number of GPUs.

Expected: nothing is published for this step itself; 47.7 in place of 45.6 mIoU on ADE20K after it
(paper, table 3). Recipe of the released code: https://github.com/microsoft/unilm/tree/master/beit
"""

_base_ = ['./beit_finetune_imagenet.py']

model = dict(
    backbone=dict(drop_path_rate=0.2),
    head=dict(num_classes=21841),
    data_preprocessor=dict(num_classes=21841),
    # Neither Mixup nor CutMix.
    train_cfg=None,
)
train_dataloader = dict(batch_size=256, dataset=dict(data_root='data/imagenet22k'))
test_dataloader = dict(dataset=dict(data_root='data/imagenet22k'))
val_dataloader = None
val_evaluator = None
val_cfg = None

train_cfg = dict(max_epochs=90)
optim_wrapper = dict(
    optimizer=dict(lr=3e-3),
    clip_grad=dict(max_norm=3.0),
)
param_scheduler = _base_.param_scheduler
param_scheduler[0].end = 5
param_scheduler[1].update(begin=5, end=90, eta_min_ratio=1e-6 / 3e-3)
custom_hooks = [dict(type='beit_mm.GlobalBatchSizeHook', global_batch_size=4096)]
