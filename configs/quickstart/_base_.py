"""What the quickstart's stages share: pictures of 32 x 32 in class folders, minutes on a CPU.

`make quickstart` writes the pictures and runs the four stages; each also runs by itself.
"""

_base_ = ['../_base_/small.py']

data_root = 'work_dirs/quickstart/data'
image_size = 32
grid_size = (4, 4)
# As in the paper the tokenizer sees half the size: 16 pixels / 4 tokens = a stride of 4.
second_size = 16
vocab_size = 128
embed_dims = 64
tokenizer = dict(vocab_size=vocab_size, hidden=32, decoder_input=32)
backbone = dict(
    arch=dict(embed_dims=embed_dims, num_layers=4, num_heads=4, feedforward_channels=256),
    img_size=image_size,
)
# To [-1, 1], whatever the channel.
grey = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])
load_image = [
    dict(type='beit_mm.LoadPhoto'),
]

train_dataloader = dict(
    num_workers=1,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='beit_mm.PhotoFolder', data_root=data_root, data_prefix='train'),
)
val_dataloader = dict(
    batch_size=100,
    collate_fn=dict(type='default_collate'),
    dataset=dict(data_root=data_root, data_prefix='val'),
)
test_dataloader = val_dataloader

warmup = dict(type='LinearLR', start_factor=1e-3, by_epoch=False)
decay = dict(type='CosineAnnealingLR', by_epoch=False, eta_min=1e-5)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=1000, max_keep_ckpts=1))
log_processor = dict(by_epoch=False)
env_cfg = dict(cudnn_benchmark=False)
randomness = dict(deterministic=True)
