"""ViT-B/16 that reads out the mean of the patches, at the rate that suits [S].

    tools/dist_train.sh configs/vit/mean_pooling_rate_of_cls_token.py 32

There are patches alone, without [S], and the classifier is one linear layer (D.3). The mean passes
the last LayerNorm; in the authors' code each patch does, and the mean follows.

Expected: the paper plots it (figure 9), well below both [S] at this rate, which is
table8.py, and mean_pooling.py.
"""

_base_ = ['./table8.py']

model = dict(backbone=dict(out_type='avg_featmap', num_extra_tokens=0), head=dict(hidden_dim=None))
