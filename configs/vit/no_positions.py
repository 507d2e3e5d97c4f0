"""ViT-B/16 with no positions: a bag of patches.

    tools/dist_train.sh configs/vit/no_positions.py 32

Expected: 61.4 % 5-shot ImageNet top-1 after JFT-300M (arXiv 2010.11929, table 8).
"""

_base_ = ['./table8.py']

model = dict(backbone=dict(positions=None))
