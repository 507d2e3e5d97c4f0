"""Claims, variant `scratch`: the network and the labels of finetune.py, from random weights.

    python tools/train.py configs/claims/scratch.py

Figures: benchmarks/results/claims_tiny_imagenet.md.
"""

_base_ = ['./finetune.py']

model = dict(backbone=dict(init_cfg=None))
