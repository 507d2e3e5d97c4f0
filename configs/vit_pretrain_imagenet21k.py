"""ViT-B/16, supervised pre-training on ImageNet-21k, 90 epochs (arXiv 2010.11929).

    tools/dist_train.sh configs/vit_pretrain_imagenet21k.py 32

Recipe: 4096 images a step, rate 1e-3, warm-up for 10,000 steps, which are 3 epochs, then linear
decay to 0, weight decay 0.03, dropout 0.1 (table 3). Data: data/imagenet22k/train/<class>/*.JPEG,
21,841 classes, or meta/train.txt, which saves the scan of 14 million files. There is no validation
split; tools/test.py takes data/imagenet22k/val if you make one. The authors' own run goes down to
1e-5, with a sigmoid of each class as the loss, and the classifier's biases begin at -10
(github.com/google-research/vision_transformer/issues/2 and /34).

Expected: 84.0 % top-1 on ImageNet-1k after vit_finetune_imagenet_384.py (table 5).
"""

_base_ = ['./vit_scratch_imagenet.py']

max_epochs = 90
warmup_epochs = 3

model = dict(head=dict(num_classes=21841), data_preprocessor=dict(num_classes=21841))
train_dataloader = dict(dataset=dict(data_root='data/imagenet22k'))
test_dataloader = dict(dataset=dict(data_root='data/imagenet22k'))
val_dataloader = None
val_evaluator = None
val_cfg = None

train_cfg = dict(max_epochs=max_epochs)
# Clipping is for ImageNet-1k.
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.03), clip_grad=None)
param_scheduler = [
    dict(_base_.param_scheduler[0], end=warmup_epochs),
    dict(
        type='LinearLR',
        start_factor=1.0,
        end_factor=0.0,
        by_epoch=True,
        begin=warmup_epochs,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
