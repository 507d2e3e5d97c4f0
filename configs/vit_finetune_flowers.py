"""ViT-B/16, fine-tuned on Oxford Flowers-102 at 384 by SGD.

    tools/dist_train.sh configs/vit_finetune_flowers.py 8

Data: data/flowers/train/<class>/* and data/flowers/val/<class>/*, 102 classes. The recipe of
vit_finetune_imagenet_384.py for 500 steps of 512 images, 2 in each of 250 epochs, of 1,020; the
paper chooses the rate among 0.001, 0.003, 0.01 and 0.03 on 10 % of the training images
(arXiv 2010.11929, table 4, B.1.1). The released code lets it rise over the first 100 steps.

Expected: 99.38 % top-1 after ImageNet-21k, 89.49 % after vit_scratch_imagenet.py (table 5).
"""

_base_ = ['./vit_finetune_imagenet_384.py']

max_epochs = 250
data = dict(data_root='data/flowers')

model = dict(head=dict(num_classes=102), data_preprocessor=dict(num_classes=102))
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = _base_.param_scheduler
param_scheduler[0].end = max_epochs
