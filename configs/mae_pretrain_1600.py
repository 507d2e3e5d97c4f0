"""MAE, ViT-B, pre-trained for 1600 epochs: the length of the paper's best figures.

    tools/dist_train.sh configs/mae_pretrain_1600.py 32

The recipe of mae_pretrain.py, twice as long.

Expected: 83.6 % ImageNet top-1 after fine-tuning for 100 epochs at 224 (paper, table 3; four seeds
of the released code: 83.63, 83.66, 83.52, 83.46), 68.0 % by a linear probe (table 12).
"""

_base_ = ['./mae_pretrain.py']

max_epochs = 1600

train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_epochs),
]
