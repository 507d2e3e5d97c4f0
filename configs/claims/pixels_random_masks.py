"""Claims, variant `pixels-random-masks`: neither visual tokens nor blocks.

    python tools/train.py configs/claims/pixels_random_masks.py

Figures: benchmarks/results/claims_tiny_imagenet.md.
"""

_base_ = ['./pixels.py']

mask = dict(type='beit_mm.RandomMaskGenerator', grid_size={{_base_.grid_size}}, num_masked=25)
train_dataloader = dict(dataset=dict(pipeline=[*_base_.train_steps, mask, _base_.pack]))
val_dataloader = dict(dataset=dict(pipeline=[*_base_.val_steps, mask, _base_.pack]))
test_dataloader = val_dataloader
