"""MAE that predicts the first 96 principal components of each patch.

    tools/dist_train.sh configs/mae/principal_components.py 64

First, the components of the training images:

    python tools/fit_patch_components.py configs/mae/principal_components.py --out work_dirs/pca.npz

Expected: 84.6 % ImageNet top-1 after fine-tuning, 72.3 % by a linear probe (paper,
table 1d).
"""

_base_ = ['./table1.py']

model = dict(
    target_generator=dict(
        _delete_=True,
        type='beit_mm.PCATargetGenerator',
        checkpoint='work_dirs/pca.npz',
        num_values=96,
    ),
    head=dict(num_values=96),
)
