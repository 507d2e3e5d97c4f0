"""BEiT-B for 300 epochs: what the paper's ablations are compared with (3.3).

    tools/dist_train.sh configs/ablations/full.py 16

Expected: 82.86 % ImageNet top-1 after fine-tuning, 44.65 ADE20K mIoU (paper, table 4); 83.19 and
45.58 after the 800 epochs of ../beit_pretrain.py.
"""

_base_ = ['../beit_pretrain.py']

max_epochs = 300

train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_epochs),
]
