"""Masked patch prediction whose targets are the 16 colours of each patch, downsized to 4 x 4.

    tools/dist_train.sh configs/vit/downsized_colours.py 32

16 predictions of 512 colours in parallel, each by weights of its own.

Expected: works quite well too; the mean colour did best with few labels (B.1.2); no figure.
"""

_base_ = ['../vit_masked_patch_pretrain.py']

model = dict(target_generator=dict(cells=4), head=dict(tokens_per_place=16))
