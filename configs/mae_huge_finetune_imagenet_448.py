"""MAE's ViT-H/14, fine-tuned for 50 epochs on ImageNet-1k at 448 (arXiv 2111.06377, table 3).

    tools/dist_train.sh configs/mae_huge_finetune_imagenet_448.py 128

The recipe of mae_huge_finetune_imagenet.py on images of four times the pixels; positions are
resampled from 16 x 16 patches to 32 x 32; 128 x 8 images at once. Tests on the middle 448 of an
image whose short edge is 448. The paper gives no other setting for this size.

Expected: 87.8 % top-1 (paper, table 3).
"""

_base_ = ['./mae_huge_finetune_imagenet.py']

model = dict(backbone=dict(img_size=448, with_cp=True))

train_pipeline = _base_.train_pipeline
train_pipeline[1].scale = 448
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = 448
test_pipeline[2].crop_size = 448
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
