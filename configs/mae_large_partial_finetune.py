"""Partial fine-tuning of MAE's ViT-L: the last block and the classifier (arXiv 2111.06377, 4.3).

    tools/dist_train.sh configs/mae_large_partial_finetune.py 16

The last k of 24 blocks are trained with model.backbone.frozen_stages=24-k; the embeddings and the
blocks before them stay as pre-trained. Everything else is the recipe of
mae_large_finetune_imagenet.py, with the stochastic depth of the paper's table 9. The paper chooses
the best of 50, 100 and 200 epochs for each k, as few blocks take longer (A.1): train_cfg.max_epochs
and param_scheduler.1.end together.

Expected: 81.0 % top-1 of one block, where a linear probe has 73.5 % (paper, 4.3, with raw pixels as
targets, mae/table1.py).
"""

_base_ = ['./mae_large_finetune_imagenet.py']

model = dict(backbone=dict(frozen_stages=23, drop_path_rate=0.1))
