"""MAE on the middle square of every image: no crops, no flips.

    tools/dist_train.sh configs/mae/no_augmentation.py 64

Expected: 84.0 % ImageNet top-1 after fine-tuning, 65.7 % by a linear probe (paper,
table 1e).
"""

_base_ = ['./table1.py']

views = dict(_base_.train_views, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip_prob=0.0)
train_dataloader = dict(dataset=dict(pipeline=[views, _base_.mask, _base_.pack]))
