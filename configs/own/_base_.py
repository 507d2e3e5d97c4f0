"""What the recipes for one's own images share: loaders, checkpoints and logs by iterations."""

_base_ = ['../_base_/small.py']

train_dataloader = dict(persistent_workers=True, collate_fn=dict(type='default_collate'))
val_dataloader = dict(collate_fn=dict(type='default_collate'))
test_dataloader = val_dataloader
default_hooks = dict(
    # Of a few dozen images one that is broken is more than a hundredth.
    broken_images=dict(max_share=0.1),
    checkpoint=dict(by_epoch=False, interval=500, max_keep_ckpts=2),
)
log_processor = dict(by_epoch=False)
