"""ViT-B/16 with positions of two dimensions that every block adds, the same ones.

    tools/dist_train.sh configs/vit/positions_2d_every_block_shared.py 32

Expected: 64.0 % 5-shot ImageNet top-1 after JFT-300M (arXiv 2010.11929, table 8).
"""

_base_ = ['./table8.py']

model = dict(backbone=dict(positions='learned-2d', positions_at='every_block_shared'))
