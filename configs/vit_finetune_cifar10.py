"""ViT-B/16, fine-tuned on CIFAR-10 at 384 by SGD.

    tools/dist_train.sh configs/vit_finetune_cifar10.py 8

Data: data/cifar10/train/<class>/* and data/cifar10/val/<class>/*, 10 classes. The recipe of
vit_finetune_imagenet_384.py for 10,000 steps of 512 images, which are 102 epochs of 50,000; the
paper chooses the rate among 0.001, 0.003, 0.01 and 0.03 on 2 % of the training images
(arXiv 2010.11929, table 4, B.1.1).

Expected: 98.95 % top-1 after ImageNet-21k, 98.13 % after vit_scratch_imagenet.py (table 5).
"""

_base_ = ['./vit_finetune_imagenet_384.py']

max_epochs = 102
data = dict(data_root='data/cifar10')

model = dict(head=dict(num_classes=10), data_preprocessor=dict(num_classes=10))
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = _base_.param_scheduler
param_scheduler[0].end = max_epochs
