"""Stage 2 of the small families: BEiT's task, with one table of positions that blocks share."""

colors = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
# The tokenizer's: in [0, 1].
pixels = dict(second_mean=[0.0, 0.0, 0.0], second_std=[255.0, 255.0, 255.0])
model = dict(
    _scope_='mmpretrain',
    type='beit_mm.MaskedImageModeling',
    backbone=dict(
        out_type='raw',
        final_norm=True,
        with_mask_token=True,
        use_rel_pos_bias=False,
        use_shared_rel_pos_bias=True,
    ),
    target_generator=dict(type='beit_mm.DVAETargetGenerator'),
    head=dict(type='beit_mm.MIMHead'),
    data_preprocessor=dict(
        type='TwoNormDataPreprocessor',
        **colors,
        **pixels,
    ),
)
val_evaluator = dict(type='beit_mm.MIMAccuracy')
test_evaluator = val_evaluator

optim_wrapper = dict(
    optimizer=dict(type='beit_mm.FusedAdamW', lr=1.5e-3, betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=3.0),
)
custom_hooks = [dict(type='beit_mm.ReconstructionsHook')]
