"""MAE with blocks of patches hidden, half of them in all.

    tools/dist_train.sh configs/mae/blocks_50.py 64

BEiT's masks.

Expected: 83.9 % ImageNet top-1 after fine-tuning, 72.3 % by a linear probe (paper,
table 1f, figure 6).
"""

_base_ = ['./table1.py']

mask = dict(type='beit_mm.BlockwiseMaskGenerator', grid_size=(14, 14), num_masked=98)
model = dict(head=dict(num_masked=98))
train_dataloader = dict(dataset=dict(pipeline=[_base_.train_views, mask, _base_.pack]))
test_dataloader = dict(dataset=dict(pipeline=[_base_.load, _base_.test_views, mask, _base_.pack]))
