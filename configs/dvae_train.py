"""A discrete VAE of DALL-E's size on ImageNet-1k: an image tokenizer of your own.

    tools/dist_train.sh configs/dvae_train.py 16

DALL-E's recipe (arXiv 2102.12092, A.2 and A.3): 256 x 256 crops, batch 512, 3M updates. For a
field with fewer images, fewer tokens and narrower layers go far; configs/quickstart/dvae.py is a
tokenizer of 128 tokens that trains in a minute. Watch `codes_used` and `perplexity` in the log: a
tokenizer that uses a handful of its tokens teaches BEiT little.

Expected: no figure was published for ImageNet; DALL-E's own tokenizer was trained on other images.

Data: data/imagenet/{train,val}/<class>/*.JPEG; labels are not read.
"""

_base_ = ['./_base_/default_runtime.py']

data_root = 'data/imagenet'
max_iters = 3_000_000

size = dict(vocab_size=8192, hidden=256, num_groups=4, blocks_per_group=2, decoder_input=128)
model = dict(
    _scope_='mmpretrain',
    type='beit_mm.DiscreteVAE',
    data_preprocessor=dict(
        type='SelfSupDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255], to_rgb=True
    ),
    **size,
)

resampling = dict(backend='pillow', interpolation='bicubic')
load = dict(type='beit_mm.LoadPhoto', as_array=True)
crop = dict(type='RandomResizedCrop', scale=256, **resampling)
flip = dict(type='RandomFlip', prob=0.5, direction='horizontal')
resize = dict(type='ResizeEdge', scale=256, edge='short', **resampling)
middle = dict(type='CenterCrop', crop_size=256)
pack = dict(type='PackInputs')

photos = dict(data_root=data_root, with_label=False)
loader = dict(
    batch_size=32,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type='default_collate'),
)
train_dataloader = dict(
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='beit_mm.PhotoFolder', data_prefix='train', pipeline=[load, crop, flip, pack], **photos
    ),
    **loader,
)
val_dataloader = dict(
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CustomDataset', data_prefix='val', pipeline=[load, resize, middle, pack], **photos
    ),
    **loader,
)
test_dataloader = val_dataloader
val_evaluator = dict(type='beit_mm.TokenizerMetric')
test_evaluator = val_evaluator

train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=10_000)
val_cfg = dict()
test_cfg = dict()

optim_wrapper = dict(
    optimizer=dict(
        type='beit_mm.FusedAdamW', lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-4
    ),
)
param_scheduler = dict(
    type='CosineAnnealingLR', by_epoch=False, T_max=1_200_000, end=1_200_000, eta_min=1.25e-6
)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=10_000),
)
log_processor = dict(by_epoch=False)
custom_hooks = [
    dict(type='beit_mm.CodebookHook'),
    dict(type='beit_mm.DVAEAnnealingHook'),
    dict(type='beit_mm.GlobalBatchSizeHook', global_batch_size=512),
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=1e-3),
]
