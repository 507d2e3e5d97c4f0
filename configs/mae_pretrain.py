"""MAE, ViT-B, pre-trained for 800 epochs on ImageNet-1k without labels (arXiv 2111.06377).

    tools/dist_train.sh configs/mae_pretrain.py 32

One optimizer step sees 4096 images whatever the number of GPUs: 32 x 128 at once, or fewer GPUs
that accumulate gradients; the log says which. About 250,000 steps.

Expected: 83.3 % ImageNet top-1 after fine-tuning for 100 epochs at 224 (MMSelfSup's model zoo);
83.6 % with 1600 epochs (paper, table 3), mae_pretrain_1600.py. Released code:
https://github.com/facebookresearch/mae

Data: data/imagenet/train/<class>/*.JPEG; labels are not read, so any folder of images will do.
"""

_base_ = ['./beit_pretrain.py']

global_batch_size = 4096
max_epochs = 800
warmup_epochs = 40
# 75 % of 14 x 14.
num_masked = 147

model = dict(
    _delete_=True,
    _scope_='mmpretrain',
    type='beit_mm.MaskedAutoencoder',
    backbone=dict(
        type='beit_mm.VisionTransformer', arch='base', img_size=224, patch_size=16, out_type='raw'
    ),
    decoder=dict(
        type='beit_mm.MAEDecoder',
        encoder_dims=768,
        embed_dims=512,
        num_layers=8,
        num_heads=16,
        img_size=224,
        patch_size=16,
    ),
    target_generator=dict(type='beit_mm.PixelTargetGenerator', patch_size=16, normalize=True),
    head=dict(type='beit_mm.PixelHead', embed_dims=512, num_values=768, num_masked=num_masked),
    data_preprocessor=dict(
        type='beit_mm.TwoViewDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
    ),
)

sizes = dict(size=224, second_size=None)
train_views = dict(
    type='beit_mm.LoadTwoViews',
    scale=(0.2, 1.0),
    brightness=0.0,
    contrast=0.0,
    saturation=0.0,
    flip_prob=0.5,
    **sizes,
)
test_views = dict(
    type='beit_mm.TwoViewRandomResizedCrop', scale=(1.0, 1.0), ratio=(1.0, 1.0), **sizes
)
mask = dict(type='beit_mm.RandomMaskGenerator', grid_size=(14, 14), num_masked=num_masked)
train_dataloader = dict(dataset=dict(pipeline=[train_views, mask, _base_.pack]))
test_dataloader = dict(dataset=dict(pipeline=[_base_.load, test_views, mask, _base_.pack]))
test_evaluator = dict(_delete_=True, type='beit_mm.MIMError')

train_cfg = dict(max_epochs=max_epochs)
# 1.5e-4 for each 256 images of a step.
optim_wrapper = dict(
    optimizer=dict(lr=1.5e-4 * global_batch_size / 256, betas=(0.9, 0.95)),
    clip_grad=None,
    # As the authors': no decay of biases and norms, which are the flat parameters; [S] and the mask
    # token have it.
    paramwise_cfg=dict(_delete_=True, flat_decay_mult=0.0),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-4,
        by_epoch=True,
        begin=0,
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=0.0,
        by_epoch=True,
        begin=warmup_epochs,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
custom_hooks = [dict(type='beit_mm.GlobalBatchSizeHook', global_batch_size=global_batch_size)]
