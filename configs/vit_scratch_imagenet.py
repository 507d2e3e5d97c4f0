"""ViT-B from scratch on ImageNet-1k: absolute positions, [S] read out, no LayerScale.

    tools/dist_train.sh configs/vit_scratch_imagenet.py 16

Recipe: 300 epochs, 4096 images a step, Adam with rate 3e-3 and weight decay 0.3, warm-up for 10,000
steps, which are 32 epochs, clipping at 1, crops and flips alone (ViT, arXiv 2010.11929, table 3).
ViT's dropout of 0.1 in the network is left out: this backbone has none. An optimizer step sees 4096
images whatever the number of GPUs.

Expected: 77.9 % top-1 with dropout and after further training at 384 (the same, table 5).
"""

_base_ = ['./beit_finetune_imagenet.py']

model = dict(
    backbone=dict(
        use_abs_pos_emb=True,
        use_rel_pos_bias=False,
        layer_scale_init_value=0.0,
        out_type='cls_token',
        final_norm=True,
        drop_path_rate=0.0,
        init_cfg=None,
    ),
    head=dict(
        loss=dict(_delete_=True, type='CrossEntropyLoss'),
        init_cfg=dict(_delete_=True, type='Constant', layer='Linear', val=0.0),
    ),
    train_cfg=None,
)
# Crop and flip alone.
train_pipeline = [*_base_.train_pipeline[:3], *_base_.train_pipeline[-1:]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

train_cfg = dict(max_epochs=300)
optim_wrapper = dict(
    paramwise_cfg=dict(layer_decay_rate=1.0),
    optimizer=dict(lr=3e-3, weight_decay=0.3),
    clip_grad=dict(max_norm=1.0),
)
param_scheduler = _base_.param_scheduler
param_scheduler[0].end = 32
param_scheduler[1].update(begin=32, end=300, eta_min_ratio=0.0)
custom_hooks = [dict(type='beit_mm.GlobalBatchSizeHook', global_batch_size=4096)]
