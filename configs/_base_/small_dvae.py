"""Stage 1 of the small families: an image tokenizer, trained with the evidence lower bound."""

model = dict(
    type='beit_mm.DiscreteVAE',
    data_preprocessor=dict(type='SelfSupDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255]),
)
val_evaluator = dict(type='beit_mm.TokenizerMetric')
test_evaluator = val_evaluator

optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.999), weight_decay=1e-4),
    clip_grad=dict(max_norm=1.0),
)
# The pull towards using all tokens equally has to be there before the decoder settles on a few: at
# a tenth of this weight the digits' tokenizer ended with a dozen.
annealing = dict(type='beit_mm.DVAEAnnealingHook', kl_weight=(0.0, 3.0))
codebook = dict(type='beit_mm.CodebookHook')
