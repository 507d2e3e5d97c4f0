"""What the small families (quickstart, claims, camvid) share: networks and loaders for a CPU."""

_base_ = ['./default_runtime.py']

patch_size = 8
# A network this small learns its positions too slowly from relative bias alone, and all too slowly
# from branches that LayerScale holds at 0.1 and the paper's initial values, docs/claims/beit.md.
backbone = dict(
    type='beit_mm.BEiT',
    patch_size=patch_size,
    use_abs_pos_emb=True,
    layer_scale_init_value=1.0,
    initial_values='xavier',
)
# In few steps on few images the paper's relaxation leaves most codes out of use.
tokenizer = dict(type='beit_mm.DiscreteVAE', quantizer='vector', num_groups=3, blocks_per_group=1)
# Of an image that is validated: all of it.
whole_views = dict(type='beit_mm.TwoViewRandomResizedCrop', scale=(1.0, 1.0), ratio=(1.0, 1.0))

train_dataloader = dict(
    num_workers=0,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(type='CustomDataset'),
)
val_dataloader = dict(
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset'),
)
test_dataloader = val_dataloader

# Validations by iteration: where runs count iterations, all are in epoch 0.
default_hooks = dict(logger=dict(interval=50, log_metric_by_epoch=False))
log_processor = dict(window_size=50)
randomness = dict(seed=0)
val_cfg = dict()
test_cfg = dict()
