"""BEiT-B without blockwise masking: patches are hidden one by one (paper, 3.3).

    tools/dist_train.sh configs/ablations/random_masks.py 16

Expected: 82.77 % ImageNet top-1 after fine-tuning, 42.93 ADE20K mIoU (paper, table 4).
"""

_base_ = ['./full.py']

mask = dict(type='beit_mm.RandomMaskGenerator', grid_size=(14, 14), num_masked=75)
train_dataloader = dict(dataset=dict(pipeline=[_base_.train_views, mask, _base_.pack]))
test_dataloader = dict(dataset=dict(pipeline=[_base_.load, _base_.test_views, mask, _base_.pack]))
