"""A discrete VAE for one GPU and one's own images: DALL-E's shape, a quarter of its width.

    python tools/train.py configs/dvae_small_train.py --cfg-options \\
        train_dataloader.dataset.data_root=data/mine val_dataloader.dataset.data_root=data/mine

1024 tokens, batch 64, 100,000 updates, with DALL-E's schedules shortened in proportion. Pre-train
with it by `tokenizer=dict(vocab_size=1024, hidden=64)` and `head=dict(vocab_size=1024)`.

Expected: no figure yet; not run at this length. Healthy is a `codes_used` near 1024 and a
`recon_mse` that still falls.
"""

_base_ = ['./dvae_train.py']

max_iters = 100_000

model = dict(vocab_size=1024, hidden=64)
train_dataloader = dict(batch_size=64)
train_cfg = dict(max_iters=max_iters, val_interval=5_000)
param_scheduler = dict(T_max=max_iters, end=max_iters)
default_hooks = dict(checkpoint=dict(interval=5_000))
custom_hooks = [
    dict(type='beit_mm.CodebookHook'),
    dict(
        type='beit_mm.DVAEAnnealingHook',
        temperature_steps=max_iters * 4 // 5,
        kl_steps=max_iters // 20,
    ),
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=1e-3),
]
