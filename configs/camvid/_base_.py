"""What the CamVid configs share: street scenes at half size, networks for a CPU.

CamVid (Brostow et al. 2008) as it is usually cut: 367 training and 101 validation pictures of
360 x 480 pixels, 11 classes, in ADE20K's layout: data/camvid/{images,annotations}/
{training,validation}; in an annotation 0 is unlabelled and 1 to 11 are the classes.
"""

_base_ = ['../_base_/default_runtime.py']

data_root = 'data/camvid'
# A crop of the half-size picture; 16 x 16 patches.
image_size = 128
patch_size = 8
grid_size = (16, 16)
# As in the paper the tokenizer sees half the size: 64 pixels / 16 tokens = a stride of 4.
second_size = 64
vocab_size = 256
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
    arch=dict(embed_dims=128, num_layers=6, num_heads=4, feedforward_channels=512),
    img_size=image_size,
    patch_size=patch_size,
    use_abs_pos_emb=True,
    layer_scale_init_value=1.0,
)

default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(by_epoch=False, interval=500, max_keep_ckpts=1),
)
log_processor = dict(by_epoch=False, window_size=50)
env_cfg = dict(cudnn_benchmark=False)
randomness = dict(seed=0)
val_cfg = dict()
test_cfg = dict()
