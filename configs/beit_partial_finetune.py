"""Partial fine-tuning of a pre-trained BEiT-B: the last four blocks and the classifier.

    tools/dist_train.sh configs/beit_partial_finetune.py 8

Between the linear probe and fine-tuning: how much of the network must be adapted? The last k of 12
blocks are trained with model.backbone.frozen_stages=12-k; the embeddings and the blocks before them
stay as pre-trained. Everything else is the recipe of beit_finetune_imagenet.py.

Expected: the paper has no such row; between the linear probe's figure and 83.2 %.
"""

_base_ = ['./beit_finetune_imagenet.py']

model = dict(backbone=dict(frozen_stages=8))
