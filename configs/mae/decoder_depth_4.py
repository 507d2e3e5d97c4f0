"""MAE with a decoder of 4 blocks, not 8.

    tools/dist_train.sh configs/mae/decoder_depth_4.py 64

Expected: 84.9 % ImageNet top-1 after fine-tuning, 71.9 % by a linear probe (paper,
table 1a).
"""

_base_ = ['./table1.py']

model = dict(decoder=dict(num_layers=4))
