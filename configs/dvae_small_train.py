"""A tokenizer of 1024 tokens for one GPU and one's own images: DALL-E's shape, a quarter as wide.

    python tools/train.py configs/dvae_small_train.py --cfg-options \\
        train_dataloader.dataset.data_root=data/mine val_dataloader.dataset.data_root=data/mine

Codes are vectors that follow the images (VQ-VAE), as the paper's relaxation leaves most codes out
of use on few images. Batch 16 of 128 x 128 crops, 20,000 updates. Pre-train with it by
`tokenizer=dict(vocab_size=1024, hidden=64, quantizer='vector')` and `head=dict(vocab_size=1024)`.

Expected: no figure yet; not run at this length. Healthy is a `recon_mse` below `kmeans_mse` and a
`codes_used` near 1024.
"""

_base_ = ['./dvae_train.py']

max_iters = 20_000

model = dict(vocab_size=1024, hidden=64, quantizer='vector')
train_dataloader = dict(
    batch_size=16,
    dataset=dict(pipeline=[_base_.load, dict(_base_.crop, scale=128), _base_.flip, _base_.pack]),
)
val_dataloader = dict(
    dataset=dict(
        pipeline=[
            _base_.load,
            dict(_base_.resize, scale=128),
            dict(_base_.middle, crop_size=128),
            _base_.pack,
        ]
    )
)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=max_iters, val_interval=1_000)
optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=1.0))
param_scheduler = dict(T_max=max_iters, end=max_iters, eta_min=1e-5)
default_hooks = dict(checkpoint=dict(interval=1_000))
custom_hooks = [dict(type='beit_mm.CodebookHook')]
