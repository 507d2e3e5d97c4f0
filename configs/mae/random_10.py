"""MAE that hides 10 % of the patches, 20 of 196.

    tools/dist_train.sh configs/mae/random_10.py 64

Expected: the paper plots it (figure 5).
"""

_base_ = ['./table1.py']

mask = dict(type='beit_mm.RandomMaskGenerator', grid_size=(14, 14), num_masked=20)
model = dict(head=dict(num_masked=20))
train_dataloader = dict(dataset=dict(pipeline=[_base_.train_views, mask, _base_.pack]))
test_dataloader = dict(dataset=dict(pipeline=[_base_.load, _base_.test_views, mask, _base_.pack]))
