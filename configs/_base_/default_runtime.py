"""What every recipe shares: scopes, hooks, logging.

The default scope is MMPretrain's, so its datasets, transforms and heads need no prefix; this
project's components are written with theirs, as any other project would write them.
"""

default_scope = 'mmpretrain'
custom_imports = dict(imports=['beit_mm'], allow_failed_imports=False)

default_hooks = dict(
    runtime_info=dict(type='beit_mm.RuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=100),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='beit_mm.WholeCheckpointHook', interval=1, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    broken_images=dict(type='beit_mm.BrokenImagesHook', max_share=0.01),
    non_finite=dict(type='beit_mm.NonFiniteHook', max_in_a_row=10),
)
env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=None)
