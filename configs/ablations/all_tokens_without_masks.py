"""BEiT-B that recovers the visual token of every place of an image that hides none.

    tools/dist_train.sh configs/ablations/all_tokens_without_masks.py 16

No figure is known here.
"""

_base_ = ['./all_tokens.py']

mask = dict(type='beit_mm.RandomMaskGenerator', grid_size=(14, 14), num_masked=0)
train_dataloader = dict(dataset=dict(pipeline=[_base_.train_views, mask, _base_.pack]))
test_dataloader = dict(dataset=dict(pipeline=[_base_.load, _base_.test_views, mask, _base_.pack]))
