"""Claims, the tokenizer of variant `relaxed-tokens`: the paper's relaxation, 0.1.0's small recipe.

    python tools/train.py configs/claims/relaxed_dvae.py

Figures: benchmarks/results/claims_tokenizers.md.
"""

_base_ = ['./dvae.py']

model = dict(quantizer='gumbel')
optim_wrapper = dict(optimizer=dict(lr=2e-3))
# The pull towards using all tokens equally has to be there before the decoder settles on a few.
custom_hooks = [
    dict(
        type='beit_mm.DVAEAnnealingHook', kl_weight=(0.0, 3.0), temperature_steps=600, kl_steps=40
    ),
    dict(type='beit_mm.CodebookHook'),
]
