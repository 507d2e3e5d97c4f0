"""MAE with a decoder of width 768, not 512.

    tools/dist_train.sh configs/mae/decoder_width_768.py 64

Expected: 84.4 % ImageNet top-1 after fine-tuning, 73.1 % by a linear probe (paper,
table 1b).
"""

_base_ = ['./table1.py']

model = dict(decoder=dict(embed_dims=768), head=dict(embed_dims=768))
