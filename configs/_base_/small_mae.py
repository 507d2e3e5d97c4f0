"""MAE's task in the small families: what is hidden is left out, and its pixels are the targets."""

model = dict(
    _scope_='mmpretrain',
    type='beit_mm.MaskedAutoencoder',
    backbone=dict(type='beit_mm.VisionTransformer', out_type='raw'),
    decoder=dict(type='beit_mm.MAEDecoder'),
    target_generator=dict(type='beit_mm.PixelTargetGenerator', normalize=True),
    head=dict(type='beit_mm.PixelHead'),
    data_preprocessor=dict(type='beit_mm.TwoViewDataPreprocessor'),
)
val_evaluator = dict(type='beit_mm.MIMError')
test_evaluator = val_evaluator

optim_wrapper = dict(
    optimizer=dict(type='beit_mm.FusedAdamW', lr=1.5e-3, betas=(0.9, 0.95), weight_decay=0.05),
)
custom_hooks = [dict(type='beit_mm.ReconstructionsHook')]
