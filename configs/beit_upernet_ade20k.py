"""BEiT-B with UPerNet on ADE20K, 512 x 512, 160k steps, from self-supervised weights.

    tools/dist_train.sh configs/beit_upernet_ade20k.py 8
    python tools/test.py configs/beit_upernet_ade20k.py CHECKPOINT [--tta]

The recipe of the released code: https://github.com/microsoft/unilm/tree/master/beit. A step sees
16 images: keep GPUs x train_dataloader.batch_size at 16.

Expected: no figure in the paper. Not run at this length here.

Data: see configs/_base_/ade20k.py.
"""

_base_ = ['./_base_/upernet.py', './_base_/ade20k.py']

optim_wrapper = dict(optimizer=dict(lr=7e-4))
