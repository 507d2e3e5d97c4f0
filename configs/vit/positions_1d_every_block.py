"""ViT-B/16 with positions of one dimension that every block learns and adds.

    tools/dist_train.sh configs/vit/positions_1d_every_block.py 32

Expected: 64.0 % 5-shot ImageNet top-1 after JFT-300M (arXiv 2010.11929, table 8).
"""

_base_ = ['./table8.py']

model = dict(backbone=dict(positions_at='every_block'))
