"""MAE that is shown one of each four patches, always the same.

    tools/dist_train.sh configs/mae/grid_75.py 64

Expected: 84.0 % ImageNet top-1 after fine-tuning, 66.0 % by a linear probe (paper,
table 1f, figure 6).
"""

_base_ = ['./table1.py']

mask = dict(type='beit_mm.GridMaskGenerator', grid_size=(14, 14), num_masked=147)
train_dataloader = dict(dataset=dict(pipeline=[_base_.train_views, mask, _base_.pack]))
test_dataloader = dict(dataset=dict(pipeline=[_base_.load, _base_.test_views, mask, _base_.pack]))
