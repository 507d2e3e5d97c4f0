"""Claims, variant `all-tokens`: the visual token of every place, masked or not.

    python tools/train.py configs/claims/all_tokens.py

Figures: benchmarks/results/claims_tiny_imagenet.md.
"""

_base_ = ['./pretrain.py']

model = dict(predict_all=True, head=dict(num_masked=None))
