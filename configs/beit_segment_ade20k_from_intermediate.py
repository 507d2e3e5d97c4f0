"""BEiT-B with the SETR-PUP layer on ADE20K, from weights fine-tuned on ImageNet-22k.

    tools/dist_train.sh configs/beit_segment_ade20k_from_intermediate.py 8

beit_segment_ade20k.py from supervised weights, with the smaller steps that the released code takes
from such: lr 3e-5, layer decay 0.9. Download beit_base_patch16_224_pt22k_ft22k.pth, or set
model.backbone.init_cfg.checkpoint to a classifier fine-tuned with this project.

Expected: 47.7 mIoU with intermediate fine-tuning on ImageNet-1k (paper, table 3). Not run at this
length here.
"""

_base_ = ['./beit_segment_ade20k.py']

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='checkpoints/beit_base_patch16_224_pt22k_ft22k.pth'))
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.9), optimizer=dict(lr=3e-5))
