"""MAE's ViT-B with UPerNet on ADE20K, 512 x 512, for 100 epochs (arXiv 2111.06377, A.4).

    tools/dist_train.sh configs/mae_upernet_ade20k.py 8
    python tools/test.py configs/mae_upernet_ade20k.py CHECKPOINT [--tta]

Relative positions, which pre-training has not, are added here and start at zero, as in the paper.
A step sees 16 images: keep GPUs x train_dataloader.batch_size at 16. 126,300 steps are 100 epochs
of 20,210 photos. The paper searches for the rate and does not give it: this one is that of
MMSegmentation's recipe.

Expected: 48.1 mIoU (paper, table 5). Not run at this length here.

Data: see configs/_base_/ade20k.py.
"""

_base_ = ['./_base_/upernet.py', './_base_/ade20k.py']

max_iters = 126_300

model = dict(
    backbone=dict(
        type='beit_mm.VisionTransformer',
        positions='learned',
        use_rel_pos_bias=True,
        init_cfg=dict(checkpoint='work_dirs/mae_pretrain_1600/epoch_1600.pth'),
    ),
)
train_cfg = dict(max_iters=max_iters)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
param_scheduler = _base_.param_scheduler
param_scheduler[1].end = max_iters
