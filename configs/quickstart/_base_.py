"""What the quickstart's stages share: pictures of 32 x 32 in class folders, a few minutes of CPU.

``tools/quickstart.py`` writes the pictures and runs the stages; see README.md.
"""

_base_ = ['../_base_/default_runtime.py']

data_root = 'work_dirs/quickstart/data'
image_size = 32
grid_size = (8, 8)

load_image = [
    dict(type='LoadImageFromFile'),
    dict(type='NumpyToPIL', to_rgb=True),
]

default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(by_epoch=False, interval=1000, max_keep_ckpts=1),
)
log_processor = dict(by_epoch=False, window_size=20)
env_cfg = dict(cudnn_benchmark=False)
randomness = dict(seed=0, deterministic=True)
