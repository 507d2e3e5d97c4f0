"""ViT-B/16, fine-tuned on CIFAR-100 at 384 by SGD.

    tools/dist_train.sh configs/vit_finetune_cifar100.py 8

Data: data/cifar100/train/<class>/* and data/cifar100/val/<class>/*, 100 classes. The recipe of
vit_finetune_imagenet_384.py for 10,000 steps of 512 images, which are 102 epochs of 50,000; the
paper chooses the rate among 0.001, 0.003, 0.01 and 0.03 on 2 % of the training images
(arXiv 2010.11929, table 4, B.1.1).

Expected: 91.67 % top-1 after ImageNet-21k, 87.13 % after vit_scratch_imagenet.py (table 5).
"""

_base_ = ['./vit_finetune_imagenet_384.py']

max_epochs = 102
data = dict(data_root='data/cifar100')

model = dict(head=dict(num_classes=100), data_preprocessor=dict(num_classes=100))
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = _base_.param_scheduler
param_scheduler[0].end = max_epochs
