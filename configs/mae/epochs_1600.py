"""MAE, pre-trained for 1600 epochs, not 800.

    tools/dist_train.sh configs/mae/epochs_1600.py 64

Expected: the paper plots it (figure 7).
"""

_base_ = ['./table1.py']

max_epochs = 1600

train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_epochs),
]
