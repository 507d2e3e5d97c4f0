"""Partial fine-tuning of half a block of MAE's ViT-L: the last feed-forward half (2111.06377, 4.3).

    tools/dist_train.sh configs/mae_large_half_block_finetune.py 16

"0.5 blocks" in the paper: of the last block the attention and its LayerNorm stay as pre-trained
too. They have a rate of zero; everything else is the recipe of mae_large_partial_finetune.py.

Expected: 79.1 % top-1 (paper, 4.3, with raw pixels as targets, mae/table1.py).
"""

_base_ = ['./mae_large_partial_finetune.py']

still = dict(lr_mult=0.0)
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={'blocks.23.attn.': still, 'blocks.23.norm1.': still})
)
