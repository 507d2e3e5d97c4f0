"""ViT-B/16 with relative positions in every block, in place of absolute ones.

    tools/dist_train.sh configs/vit/relative_positions.py 32

They are BEiT's: each head learns a number for each offset of rows and columns. The paper's depend
on the query besides, and on the offset in the sequence of patches alone.

Expected: 64.0 % 5-shot ImageNet top-1 after JFT-300M, with the paper's (arXiv 2010.11929, table 8).
"""

_base_ = ['./table8.py']

model = dict(backbone=dict(positions=None, use_rel_pos_bias=True))
