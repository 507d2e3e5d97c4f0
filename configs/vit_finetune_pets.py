"""ViT-B/16, fine-tuned on Oxford-IIIT Pets at 384 by SGD.

    tools/dist_train.sh configs/vit_finetune_pets.py 8

Data: data/pets/train/<class>/* and data/pets/val/<class>/*, 37 classes. The recipe of
vit_finetune_imagenet_384.py for 500 steps of 512 images, 8 in each of 63 epochs, of 3,680; the
paper chooses the rate among 0.001, 0.003, 0.01 and 0.03 on 10 % of the training images
(arXiv 2010.11929, table 4, B.1.1). The released code lets it rise over the first 100 steps.

Expected: 94.43 % top-1 after ImageNet-21k, 93.81 % after vit_scratch_imagenet.py (table 5).
"""

_base_ = ['./vit_finetune_imagenet_384.py']

max_epochs = 63
data = dict(data_root='data/pets')

model = dict(head=dict(num_classes=37), data_preprocessor=dict(num_classes=37))
train_dataloader = dict(dataset=data)
val_dataloader = dict(dataset=data)
test_dataloader = dict(dataset=data)
train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = _base_.param_scheduler
param_scheduler[0].end = max_epochs
