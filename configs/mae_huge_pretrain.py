"""MAE, ViT-H with patches of 14, pre-trained for 800 epochs on ImageNet-1k (arXiv 2111.06377).

    tools/dist_train.sh configs/mae_huge_pretrain.py 128

The recipe of mae_pretrain.py with the huge network; 128 x 32 images at once. A view has 16 x 16
patches, of which 192 are hidden.

Expected: nothing is published for 800 epochs and normalised pixels; with raw ones, by --cfg-options
model.target_generator.normalize=False, 85.8 % ImageNet top-1 after fine-tuning (paper, table 2).
mae_huge_pretrain_1600.py has the best figures.
"""

_base_ = ['./mae_pretrain.py']

num_masked = 192
model = dict(
    backbone=dict(arch='huge', patch_size=14),
    decoder=dict(encoder_dims=1280, patch_size=14),
    target_generator=dict(patch_size=14),
    head=dict(num_values=14 * 14 * 3, num_masked=num_masked),
)
mask = dict(type='beit_mm.RandomMaskGenerator', grid_size=(16, 16), num_masked=num_masked)
train_dataloader = dict(
    batch_size=32, dataset=dict(pipeline=[_base_.train_views, mask, _base_.pack])
)
test_dataloader = dict(dataset=dict(pipeline=[_base_.load, _base_.test_views, mask, _base_.pack]))
