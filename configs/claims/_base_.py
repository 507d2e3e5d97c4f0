"""What the stages of benchmarks/variants.py share: 64-pixel photos, an 8 x 8 grid, a small BEiT.

The benchmark sets the data, the epochs and the seed of each stage; each also runs by itself.
"""

_base_ = ['../_base_/small.py']

data_root = 'data/tiny_imagenet'
image_size = 64
grid_size = (8, 8)
# As in the paper the tokenizer sees half the size: 32 pixels / 8 tokens = a stride of 4.
second_size = 32
vocab_size = 256
embed_dims = 96
tokenizer = dict(vocab_size=vocab_size, hidden=16, decoder_input=64)
backbone = dict(
    arch=dict(embed_dims=embed_dims, num_layers=4, num_heads=3, feedforward_channels=384),
    img_size=image_size,
    # The paper's: so the figures in docs/ were measured.
    initial_values='truncated-normal',
)
load_image = [
    dict(type='LoadImageFromFile'),
    dict(type='NumpyToPIL', to_rgb=True),
]
flip = dict(type='torchvision/RandomHorizontalFlip', p=0.5)
crop_scale = (0.3, 1.0)

train_dataloader = dict(
    sampler=dict(type='DefaultSampler'),
    collate_fn=dict(type='default_collate'),
    dataset=dict(data_root=data_root, data_prefix='train'),
)
val_dataloader = dict(
    batch_size=100,
    collate_fn=dict(type='default_collate'),
    dataset=dict(data_root=data_root, data_prefix='val'),
)
test_dataloader = val_dataloader

by_epoch = dict(by_epoch=True, convert_to_iter_based=True)
warmup = dict(type='LinearLR', start_factor=1e-3, begin=0, **by_epoch)
decay = dict(type='CosineAnnealingLR', eta_min=1e-5, **by_epoch)
# The last but one too: a run that is stopped while it writes goes on from there.
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=2))
