"""Claims, variant `relaxed-tokens`: BEiT's task with the tokens of relaxed_dvae.py.

    python tools/train.py configs/claims/relaxed_tokens.py

Figures: benchmarks/results/claims_tokenizers.md.
"""

_base_ = ['./pretrain.py']

model = dict(target_generator=dict(tokenizer=dict(quantizer='gumbel')))
