"""Masked patch prediction that corrupts 15 % of the patches, as BERT does, 29 of 196.

    tools/dist_train.sh configs/vit/corrupted_15.py 32

Expected: slightly worse than half of them with few labels (B.1.2); no figure.
"""

_base_ = ['../vit_masked_patch_pretrain.py']

corruption = dict(_base_.corruption, share=0.15)
model = dict(head=dict(num_masked=29))
train_dataloader = dict(dataset=dict(pipeline=[_base_.train_views, corruption, _base_.pack]))
test_dataloader = dict(
    dataset=dict(pipeline=[_base_.load, _base_.test_views, corruption, _base_.pack])
)
