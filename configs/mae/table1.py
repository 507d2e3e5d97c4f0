"""MAE, ViT-L, 800 epochs, raw pixels as targets: what the paper's ablations are compared with.

    tools/dist_train.sh configs/mae/table1.py 64

Every other file here changes one thing. Fine-tuned by ../mae_large_finetune_imagenet.py with
model.backbone.drop_path_rate=0.1 (paper, table 9), probed by ../mae_large_linear_probe.py, each
with model.backbone.init_cfg.checkpoint=FILE.

Expected: 84.9 % ImageNet top-1 after fine-tuning, 73.5 % by a linear probe (paper, table 1).
"""

_base_ = ['../mae_large_pretrain.py']

model = dict(target_generator=dict(normalize=False))
