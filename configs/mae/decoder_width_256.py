"""MAE with a decoder of width 256, not 512.

    tools/dist_train.sh configs/mae/decoder_width_256.py 64

Expected: 84.8 % ImageNet top-1 after fine-tuning, 71.3 % by a linear probe (paper,
table 1b).
"""

_base_ = ['./table1.py']

model = dict(decoder=dict(embed_dims=256), head=dict(embed_dims=256))
