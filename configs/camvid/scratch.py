"""CamVid, stage 4: the network of stage 3 from scratch.

    python tools/train.py configs/camvid/scratch.py

Everything as in stage 3 but for the weights and the layer-wise decay, which would hold back blocks
that have yet to learn everything. Expected: benchmarks/results/camvid.md.
"""

_base_ = ['./finetune.py']

model = dict(backbone=dict(init_cfg=None))
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=1.0))
