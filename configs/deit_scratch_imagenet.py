"""The paper's baseline: BEiT-B's network from scratch on ImageNet-1k, by DeiT's recipe.

    tools/dist_train.sh configs/deit_scratch_imagenet.py 8

The network of beit_finetune_imagenet.py without pre-training. Recipe: 300 epochs, rate 5e-4 for 512
images, repeated augmentation with three views of an image (DeiT, arXiv 2012.12877, table 9).
An optimizer step sees 1024 images whatever the number of GPUs.

Expected: 81.8 % top-1 (BEiT paper, table 1), which is DeiT-B's figure: a network of the same size
that has absolute positions in place of relative ones, reads out [S] and has no LayerScale. That one
is model.backbone.use_rel_pos_bias=False model.backbone.use_abs_pos_emb=True
model.backbone.layer_scale_init_value=0 model.backbone.out_type=cls_token
model.backbone.final_norm=True
"""

_base_ = ['./beit_finetune_imagenet.py']

model = dict(
    backbone=dict(init_cfg=None),
    head=dict(init_cfg=dict(std=0.02, a=-0.02, b=0.02)),
)
train_dataloader = dict(sampler=dict(type='RepeatAugSampler', num_repeats=3))

train_cfg = dict(max_epochs=300)
# One rate at all depths.
optim_wrapper = dict(
    paramwise_cfg=dict(layer_decay_rate=1.0),
    optimizer=dict(lr=5e-4 * 1024 / 512),
)
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=5, start_factor=1e-3)
param_scheduler[1].update(begin=5, end=300, eta_min_ratio=1e-5 / 1e-3)
