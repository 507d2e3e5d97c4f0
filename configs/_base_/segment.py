"""What the segmentation recipes share: MMSegmentation's scope, loops and test-time averaging."""

_base_ = ['./default_runtime.py']

default_scope = 'mmseg'

train_cfg = dict(type='IterBasedTrainLoop', max_iters=160_000, val_interval=16_000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
# Of tools/test.py --tta: the mean over scales and flips.
tta_model = dict(type='SegTTAModel')

default_hooks = dict(
    logger=dict(interval=50, log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=16_000, save_best='mIoU'),
)
log_processor = dict(by_epoch=False)
visualizer = dict(type='SegLocalVisualizer')
