"""What the CamVid configs share: street scenes at half size, networks for a CPU.

CamVid (Brostow et al. 2008) as it is usually cut: 367 training and 101 validation pictures of
360 x 480 pixels, 11 classes, in ADE20K's layout: data/camvid/{images,annotations}/
{training,validation}; in an annotation 0 is unlabelled and 1 to 11 are the classes.
"""

_base_ = ['../_base_/small.py']

data_root = 'data/camvid'
# A crop of the half-size picture; 16 x 16 patches.
image_size = 128
grid_size = (16, 16)
# As in the paper the tokenizer sees half the size: 64 pixels / 16 tokens = a stride of 4.
second_size = 64
vocab_size = 256
embed_dims = 128
tokenizer = dict(vocab_size=vocab_size, hidden=32, decoder_input=32)
backbone = dict(
    arch=dict(embed_dims=embed_dims, num_layers=6, num_heads=4, feedforward_channels=512),
    img_size=image_size,
    # The paper's: so the figures in docs/ were measured.
    initial_values='truncated-normal',
)
load = dict(type='LoadImageFromFile')
photos = dict(data_root=data_root, with_label=False)

warmup = dict(type='LinearLR', start_factor=1e-3, by_epoch=False)
decay = dict(type='CosineAnnealingLR', by_epoch=False, eta_min=1e-5)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=500, max_keep_ckpts=1))
log_processor = dict(by_epoch=False)
env_cfg = dict(cudnn_benchmark=False)
