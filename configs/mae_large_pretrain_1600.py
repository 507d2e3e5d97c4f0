"""MAE, ViT-L, pre-trained for 1600 epochs: the length of the paper's best figures.

    tools/dist_train.sh configs/mae_large_pretrain_1600.py 64

The recipe of mae_large_pretrain.py, twice as long.

Expected: 85.9 % ImageNet top-1 after fine-tuning for 50 epochs at 224 (paper, table 3), 75.8 % by a
linear probe (table 12).
"""

_base_ = ['./mae_large_pretrain.py']

max_epochs = 1600

train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_epochs),
]
