"""Stage 3 of the small families: classification, with the pre-trained weights."""

model = dict(
    _scope_='mmpretrain',
    type='ImageClassifier',
    backbone=dict(
        drop_path_rate=0.1,
        out_type='avg_featmap',
        use_rel_pos_bias=True,
        init_cfg=dict(type='Pretrained'),
    ),
    head=dict(
        type='LinearClsHead',
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1),
    ),
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
)
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator

optim_wrapper = dict(
    optimizer=dict(type='beit_mm.FusedAdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=3.0),
)
