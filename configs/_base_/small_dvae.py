"""Stage 1 of the small families: an image tokenizer with a codebook of vectors."""

model = dict(
    _scope_='mmpretrain',
    type='beit_mm.DiscreteVAE',
    data_preprocessor=dict(type='SelfSupDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255]),
)
val_evaluator = dict(type='beit_mm.TokenizerMetric')
test_evaluator = val_evaluator

optim_wrapper = dict(
    optimizer=dict(type='beit_mm.FusedAdamW', lr=5e-3, betas=(0.9, 0.999), weight_decay=1e-4),
    clip_grad=dict(max_norm=1.0),
)
custom_hooks = [dict(type='beit_mm.CodebookHook'), dict(type='beit_mm.ReconstructionsHook')]
