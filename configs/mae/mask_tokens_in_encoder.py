"""MAE whose encoder is given mask tokens in the place of hidden patches.

    tools/dist_train.sh configs/mae/mask_tokens_in_encoder.py 64

It takes 3.3 times the FLOP.

Expected: 84.2 % ImageNet top-1 after fine-tuning, 59.6 % by a linear probe (paper,
table 1c).
"""

_base_ = ['./table1.py']

model = dict(encode_all=True, backbone=dict(with_mask_token=True))
