"""ViT-B/16 with positions of two dimensions: rows beside columns.

    tools/dist_train.sh configs/vit/positions_2d.py 32

Expected: 64.0 % 5-shot ImageNet top-1 after JFT-300M (arXiv 2010.11929, table 8).
"""

_base_ = ['./table8.py']

model = dict(backbone=dict(positions='learned-2d'))
