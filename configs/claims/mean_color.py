"""Claims, variant `mean-color`: the mean colours of ViT's masked patch prediction.

    python tools/train.py configs/claims/mean_color.py

Figures: benchmarks/results/claims_tiny_imagenet.md.
"""

_base_ = ['./pretrain.py']

# A place of the 8 x 8 grid covers 4 x 4 pixels of the second view.
model = dict(
    target_generator=dict(_delete_=True, type='beit_mm.MeanColorTargetGenerator', patch_size=4),
    head=dict(vocab_size=512),
)
