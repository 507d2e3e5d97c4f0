"""BEiT-B without visual tokens and without blockwise masking (paper, 3.3).

    tools/dist_train.sh configs/ablations/pixels_random_masks.py 16

Expected: 80.50 % ImageNet top-1 after fine-tuning, 37.09 ADE20K mIoU (paper, table 4).
"""

_base_ = ['./pixels.py']

mask = dict(type='beit_mm.RandomMaskGenerator', grid_size=(14, 14), num_masked=75)
train_dataloader = dict(dataset=dict(pipeline=[_base_.train_views, mask, _base_.pack]))
test_dataloader = dict(dataset=dict(pipeline=[_base_.load, _base_.test_views, mask, _base_.pack]))
