"""ViT-L/16, fine-tuned on ImageNet-1k at 512, with averaged weights.

    tools/dist_train.sh configs/vit_large_finetune_imagenet_512.py 32

The recipe of vit_large_finetune_imagenet_384.py on a grid of 32 x 32; what is tested is the mean of
the weights over the steps, with a factor of 0.9999 (arXiv 2010.11929, 4.1).

Expected: 85.30 % top-1 after ImageNet-21k, 87.76 % after JFT-300M, which is not public (table 2).
"""

_base_ = ['./vit_large_finetune_imagenet_384.py']

model = dict(backbone=dict(img_size=512))
train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = 512
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = 512
test_pipeline[2].crop_size = 512
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(batch_size=32, dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(batch_size=32, dataset=dict(pipeline=test_pipeline))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=1e-4),
]
