"""ViT-B/16 that reads out the mean of the patches, at the rate that suits it.

    tools/dist_train.sh configs/vit/mean_pooling.py 32

There are patches alone, without [S], and the classifier is one linear layer (D.3). The mean passes
the last LayerNorm; in the authors' code each patch does, and the mean follows.

Expected: the paper plots it (figure 9), as good as [S] at 8e-4, which is table8.py.
"""

_base_ = ['./table8.py']

model = dict(backbone=dict(out_type='avg_featmap', num_extra_tokens=0), head=dict(hidden_dim=None))
optim_wrapper = dict(optimizer=dict(lr=3e-4))
