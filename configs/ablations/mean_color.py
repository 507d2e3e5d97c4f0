"""BEiT-B that predicts each masked patch's mean colour, as ViT's authors tried.

    tools/dist_train.sh configs/ablations/mean_color.py 16

Three bits a channel make 512 classes (arXiv 2010.11929, B.1.2). ViT hides half of the patches at
random, some behind other patches, and pre-trains on JFT-300M; here the targets alone are its, the
masks and the recipe BEiT's, so that tokens are compared with colours and nothing else.

No figure of this comparison is published.
"""

_base_ = ['./full.py']

# A place of the 14 x 14 grid covers 8 x 8 pixels of the second view.
model = dict(
    target_generator=dict(_delete_=True, type='beit_mm.MeanColorTargetGenerator', patch_size=8),
    head=dict(vocab_size=512),
)
