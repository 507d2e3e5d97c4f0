"""What the quickstart's stages share: pictures of 32 x 32 in class folders, minutes on a CPU.

`make quickstart` writes the pictures and runs the four stages; each also runs by itself.
"""

_base_ = ['../_base_/default_runtime.py']

data_root = 'work_dirs/quickstart/data'
image_size = 32
patch_size = 8
grid_size = (4, 4)
# As in the paper the tokenizer sees half the size: 16 pixels / 4 tokens = a stride of 4.
second_size = 16
vocab_size = 128
tokenizer = dict(
    type='beit_mm.DiscreteVAE',
    vocab_size=vocab_size,
    hidden=32,
    num_groups=3,
    blocks_per_group=1,
    decoder_input=32,
)
# A network this small learns its positions too slowly from relative bias alone, and from branches
# that LayerScale holds at 0.1.
backbone = dict(
    type='beit_mm.BEiT',
    arch=dict(embed_dims=64, num_layers=4, num_heads=4, feedforward_channels=256),
    img_size=image_size,
    patch_size=patch_size,
    use_abs_pos_emb=True,
    layer_scale_init_value=1.0,
)
load_image = [
    dict(type='beit_mm.LoadPhoto'),
]

default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(by_epoch=False, interval=1000, max_keep_ckpts=1),
)
log_processor = dict(by_epoch=False, window_size=50)
env_cfg = dict(cudnn_benchmark=False)
randomness = dict(seed=0, deterministic=True)
val_cfg = dict()
test_cfg = dict()
