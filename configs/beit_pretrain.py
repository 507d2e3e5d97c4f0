"""BEiT-B, pre-trained for 800 epochs on ImageNet-1k without labels (arXiv 2106.08254).

    tools/dist_train.sh configs/beit_pretrain.py 16

One optimizer step sees 2048 images whatever the number of GPUs: 16 x 128 at once, or fewer GPUs
that accumulate gradients; the log says which. About 500,000 steps, five days on 16 V100-32GB.

Expected: 83.2 % ImageNet top-1 after fine-tuning for 100 epochs at 224 (paper, table 1); released
code: https://github.com/microsoft/unilm/tree/master/beit

Data: data/imagenet/train/<class>/*.JPEG; labels are not read, so any folder of images will do.
"""

_base_ = ['./_base_/default_runtime.py']

global_batch_size = 2048
max_epochs = 800
warmup_epochs = 10
# Folder that tools/cache_tokens.py has written: tokens are read from it and never computed.
token_cache = None

model = dict(
    _scope_='mmpretrain',
    type='beit_mm.MaskedImageModeling',
    backbone=dict(
        type='beit_mm.BEiT',
        arch='base',
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,
        out_type='raw',
        final_norm=True,
        with_mask_token=True,
        use_rel_pos_bias=False,
        use_shared_rel_pos_bias=True,
        layer_scale_init_value=0.1,
    ),
    target_generator=dict(
        type='beit_mm.DVAETargetGenerator',
        tokenizer=dict(type='beit_mm.DiscreteVAE', vocab_size=8192),
        # OpenAI's DALL-E encoder, as MMPretrain publishes it; downloaded once.
        checkpoint='https://download.openmmlab.com/mmselfsup/1.x/target_generator_ckpt/'
        'dalle_encoder.pth',
        # What PyTorch's convolutions on an NVIDIA GPU do unless told otherwise.
        precision='tf32',
    ),
    head=dict(type='beit_mm.MIMHead', embed_dims=768, vocab_size=8192, num_masked=75),
    data_preprocessor=dict(
        type='beit_mm.TwoViewDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        second_mean=[0.0, 0.0, 0.0],
        second_std=[255.0, 255.0, 255.0],
    ),
)

sizes = dict(size=224, second_size=112)
# In one step: load, ColorJitter, RandomHorizontalFlip, TwoViewRandomResizedCrop.
train_views = dict(
    type='beit_mm.LoadTwoViews',
    scale=(0.08, 1.0),
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    flip_prob=0.5,
    **sizes,
)
# All of the image.
test_views = dict(
    type='beit_mm.TwoViewRandomResizedCrop', scale=(1.0, 1.0), ratio=(1.0, 1.0), **sizes
)
mask = dict(type='beit_mm.BlockwiseMaskGenerator', grid_size=(14, 14), num_masked=75)
load = dict(type='beit_mm.LoadPhoto')
pack = dict(type='PackInputs')

photos = dict(data_root='data/imagenet', with_label=False)
train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='beit_mm.PhotoFolder',
        data_prefix='train',
        pipeline=[train_views, mask, pack],
        **photos,
    ),
)
test_dataloader = dict(
    batch_size=128,
    num_workers=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='CustomDataset', data_prefix='val', pipeline=[load, test_views, mask, pack], **photos
    ),
)
test_evaluator = dict(type='beit_mm.MIMAccuracy')
train_cfg = dict(by_epoch=True, max_epochs=max_epochs)
test_cfg = dict()

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='beit_mm.FusedAdamW', lr=1.5e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.05
    ),
    clip_grad=dict(max_norm=3.0),
    # No decay of biases, norms and LayerScale, which are the flat parameters, of [S] and positions.
    paramwise_cfg=dict(
        flat_decay_mult=0.0,
        custom_keys={'.cls_token': dict(decay_mult=0.0), '.pos_embed': dict(decay_mult=0.0)},
    ),
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
        eta_min=1e-5,
        by_epoch=True,
        begin=warmup_epochs,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
custom_hooks = [
    dict(type='beit_mm.GlobalBatchSizeHook', global_batch_size=global_batch_size),
]
