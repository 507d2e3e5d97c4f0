"""MAE with blocks of patches hidden, three quarters in all.

    tools/dist_train.sh configs/mae/blocks_75.py 64

BEiT's masks.

Expected: 82.8 % ImageNet top-1 after fine-tuning, 63.9 % by a linear probe (paper,
table 1f, figure 6).
"""

_base_ = ['./table1.py']

mask = dict(type='beit_mm.BlockwiseMaskGenerator', grid_size=(14, 14), num_masked=147)
train_dataloader = dict(dataset=dict(pipeline=[_base_.train_views, mask, _base_.pack]))
test_dataloader = dict(dataset=dict(pipeline=[_base_.load, _base_.test_views, mask, _base_.pack]))
