"""BEiT-B after intermediate fine-tuning on ImageNet-22k, fine-tuned for 30 epochs on ImageNet-1k.

    tools/dist_train.sh configs/beit_finetune_from_intermediate.py 8

Starts from configs/beit_intermediate_finetune_imagenet22k.py. Microsoft's public weights do too,
with other colours: --cfg-options
model.backbone.init_cfg.checkpoint=beit_base_patch16_224_pt22k_ft22k.pth
model.data_preprocessor.mean=127.5,127.5,127.5 model.data_preprocessor.std=127.5,127.5,127.5

BEiT-L in this recipe: model.backbone.arch=large model.backbone.layer_scale_init_value=1e-5
model.backbone.drop_path_rate=0.4 model.head.in_channels=1024
optim_wrapper.paramwise_cfg.layer_decay_rate=0.9

An optimizer step sees 512 images whatever the number of GPUs.

Expected: 85.2 % top-1 with Microsoft's weights, which were also pre-trained on ImageNet-22k
(released code: https://github.com/microsoft/unilm/tree/master/beit).
"""

_base_ = ['./beit_finetune_imagenet.py']

model = dict(
    backbone=dict(
        init_cfg=dict(
            checkpoint='work_dirs/beit_intermediate_finetune_imagenet22k/epoch_90.pth',
        ),
    ),
    # Neither Mixup nor CutMix.
    train_cfg=None,
)
train_dataloader = dict(batch_size=64)

train_cfg = dict(max_epochs=30)
optim_wrapper = dict(
    paramwise_cfg=dict(layer_decay_rate=0.85),
    optimizer=dict(lr=2e-5, weight_decay=1e-8),
)
param_scheduler = _base_.param_scheduler
param_scheduler[0].end = 5
param_scheduler[1].update(begin=5, end=30, eta_min_ratio=1e-6 / 2e-5)
custom_hooks = [dict(type='beit_mm.GlobalBatchSizeHook', global_batch_size=512)]
