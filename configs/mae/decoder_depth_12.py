"""MAE with a decoder of 12 blocks, not 8.

    tools/dist_train.sh configs/mae/decoder_depth_12.py 64

Expected: 84.4 % ImageNet top-1 after fine-tuning, 73.3 % by a linear probe (paper,
table 1a).
"""

_base_ = ['./table1.py']

model = dict(decoder=dict(num_layers=12))
