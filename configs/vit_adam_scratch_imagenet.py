"""ViT-B/16 from scratch on ImageNet-1k by Adam proper (arXiv 2010.11929).

    tools/dist_train.sh configs/vit_adam_scratch_imagenet.py 32

The paper says Adam and a weight decay of 0.3, and nothing more of the decay. Here it is part of the
gradient, which Adam then scales. The authors' code decouples it, as vit_scratch_imagenet.py does,
which has the paper's figure.

Expected: nothing is published. A user of timm's ViT with Adam in place of AdamW reports 6.3 % at
epoch 100, with settings not told (github.com/huggingface/pytorch-image-models/issues/252).
"""

_base_ = ['./vit_scratch_imagenet.py']

optim_wrapper = dict(optimizer=dict(type='Adam'))
