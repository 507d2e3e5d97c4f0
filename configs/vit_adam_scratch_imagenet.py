"""ViT-B/16 from scratch on ImageNet-1k by Adam proper (arXiv 2010.11929).

    tools/dist_train.sh configs/vit_adam_scratch_imagenet.py 32

The paper says Adam and a weight decay of 0.3; here the decay is part of the gradient, which Adam
then scales, in place of a step of its own as in vit_scratch_imagenet.py.

Expected: the paper has one figure for "Adam", 77.9 % top-1 after fine-tuning at 384 (table 5).
"""

_base_ = ['./vit_scratch_imagenet.py']

optim_wrapper = dict(optimizer=dict(type='Adam'))
