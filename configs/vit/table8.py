"""ViT-B/16 as the paper's studies of positions and of the read-out train it (table 8, figure 9).

    tools/dist_train.sh configs/vit/table8.py 32

Recipe of JFT-300M: 7 epochs, 4096 images a step, rate 8e-4, weight decay 0.1, no dropout, linear
decay (arXiv 2010.11929, table 3). JFT is not public: this trains on ImageNet-21k, so that the
figures compare the variants with each other alone. Measure by --few-shot 5 of beit-mm evaluate.

Expected: 64.2 % 5-shot ImageNet top-1 after JFT-300M with the paper's own positions, one learned
for each patch (table 8).
"""

_base_ = ['../vit_pretrain_imagenet21k.py']

max_epochs = 7

model = dict(backbone=dict(drop_rate=0.0))
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=8e-4, weight_decay=0.1))
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = max_epochs
