"""What the stages of benchmarks/claims.py share: 64-pixel photos, an 8 x 8 grid, a small BEiT.

The benchmark sets the data, the epochs and the seed of each stage; each also runs by itself.
"""

_base_ = ['../_base_/default_runtime.py']

data_root = 'data/tiny_imagenet'
image_size = 64
patch_size = 8
grid_size = (8, 8)
# As in the paper the tokenizer sees half the size: 32 pixels / 8 tokens = a stride of 4.
second_size = 32
vocab_size = 256
embed_dims = 96
tokenizer = dict(
    type='beit_mm.DiscreteVAE',
    vocab_size=vocab_size,
    hidden=16,
    num_groups=3,
    blocks_per_group=1,
    decoder_input=64,
)
# A network this small learns its positions too slowly from relative bias alone, and from branches
# that LayerScale holds at 0.1.
backbone = dict(
    type='beit_mm.BEiT',
    arch=dict(embed_dims=embed_dims, num_layers=4, num_heads=3, feedforward_channels=384),
    img_size=image_size,
    patch_size=patch_size,
    use_abs_pos_emb=True,
    layer_scale_init_value=1.0,
)
load_image = [
    dict(type='LoadImageFromFile'),
    dict(type='NumpyToPIL', to_rgb=True),
]
crop_scale = (0.3, 1.0)

default_hooks = dict(
    logger=dict(interval=50),
    # The last but one too: a run that is stopped while it writes goes on from there.
    checkpoint=dict(interval=1, max_keep_ckpts=2),
)
log_processor = dict(window_size=50)
randomness = dict(seed=0)
val_cfg = dict()
test_cfg = dict()
