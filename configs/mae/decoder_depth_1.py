"""MAE with a decoder of 1 block, not 8.

    tools/dist_train.sh configs/mae/decoder_depth_1.py 64

Expected: 84.8 % ImageNet top-1 after fine-tuning, 65.5 % by a linear probe (paper,
table 1a).
"""

_base_ = ['./table1.py']

model = dict(decoder=dict(num_layers=1))
