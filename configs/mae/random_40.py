"""MAE that hides 40 % of the patches, 78 of 196.

    tools/dist_train.sh configs/mae/random_40.py 64

Expected: the paper plots it (figure 5).
"""

_base_ = ['./table1.py']

mask = dict(type='beit_mm.RandomMaskGenerator', grid_size=(14, 14), num_masked=78)
model = dict(head=dict(num_masked=78))
train_dataloader = dict(dataset=dict(pipeline=[_base_.train_views, mask, _base_.pack]))
test_dataloader = dict(dataset=dict(pipeline=[_base_.load, _base_.test_views, mask, _base_.pack]))
