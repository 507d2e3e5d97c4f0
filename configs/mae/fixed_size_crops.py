"""MAE on random crops of one size.

    tools/dist_train.sh configs/mae/fixed_size_crops.py 64

The paper does not say of what image; here it is 224 of one whose short edge is 256.

Expected: 84.7 % ImageNet top-1 after fine-tuning, 73.1 % by a linear probe (paper,
table 1e).
"""

_base_ = ['./table1.py']

crop = [
    dict(type='torchvision/Resize', size=256, interpolation='bicubic'),
    dict(type='torchvision/RandomCrop', size=224),
    dict(type='torchvision/RandomHorizontalFlip', p=0.5),
]
train_dataloader = dict(
    dataset=dict(pipeline=[_base_.load, *crop, _base_.test_views, _base_.mask, _base_.pack])
)
