"""ViT-B/16, pre-trained without labels by masked patch prediction (arXiv 2010.11929, B.1.2).

    tools/dist_train.sh configs/vit_masked_patch_pretrain.py 32

Half of the patches are corrupted: 80 % of them stand behind the mask token, 10 % behind another
patch, 10 % stay; the mean colour of each, in 3 bits a channel, is predicted. 1M steps of Adam with
4096 images each whatever the number of GPUs, rate 2e-4, warm-up for 10k steps, cosine. The paper
names no weight decay here; 0.1 is that of its other pre-trainings on JFT (table 3), decoupled as
in the authors' code. Crops from 5 % of the area on and flips, as the authors say
(github.com/google-research/vision_transformer/issues/103). Two views of one size, as the colours
are those of the pixels that the backbone is given.

The paper's JFT-300M is not public. It reports little more after 100k steps, and similar gains by
pre-training on ImageNet. Of ImageNet-1k 1M steps are 3200 epochs, and 100k steps 320:
--cfg-options train_cfg.max_epochs=320 param_scheduler.1.end=320

Expected: 79.9 % ImageNet top-1 after fine-tuning at 384 by vit_masked_patch_finetune_imagenet.py
(section 4.6); two points above training from scratch, four below pre-training with labels. Other
targets: configs/vit/.

Data: data/imagenet/train/<class>/*.JPEG; labels are not read, so any folder of images will do.
"""

_base_ = ['./beit_pretrain.py']

global_batch_size = 4096
max_epochs = 3200
warmup_epochs = 32
# Half of 14 x 14.
num_masked = 98

model = dict(
    _delete_=True,
    _scope_='mmpretrain',
    type='beit_mm.MaskedPatchPrediction',
    backbone=dict(
        type='beit_mm.VisionTransformer',
        arch='base',
        img_size=224,
        patch_size=16,
        positions='learned',
        out_type='raw',
        with_mask_token=True,
    ),
    target_generator=dict(type='beit_mm.MeanColorTargetGenerator', patch_size=16),
    head=dict(type='beit_mm.MIMHead', embed_dims=768, vocab_size=512, num_masked=num_masked),
    data_preprocessor=dict(
        type='beit_mm.TwoViewDataPreprocessor',
        # To [-1, 1], as the authors.
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
    ),
)

sizes = dict(size=224, second_size=224, second_interpolation='bicubic')
train_views = dict(
    type='beit_mm.LoadTwoViews',
    scale=(0.05, 1.0),
    brightness=0.0,
    contrast=0.0,
    saturation=0.0,
    flip_prob=0.5,
    **sizes,
)
test_views = dict(
    type='beit_mm.TwoViewRandomResizedCrop', scale=(1.0, 1.0), ratio=(1.0, 1.0), **sizes
)
corruption = dict(
    type='beit_mm.PatchCorruptionGenerator',
    grid_size=(14, 14),
    share=0.5,
    mask_share=0.8,
    other_share=0.1,
)
pack = dict(type='PackInputs', algorithm_keys=('sources',))
train_dataloader = dict(dataset=dict(pipeline=[train_views, corruption, pack]))
test_dataloader = dict(dataset=dict(pipeline=[_base_.load, test_views, corruption, pack]))

train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(optimizer=dict(lr=2e-4, weight_decay=0.1), clip_grad=None)
param_scheduler = _base_.param_scheduler
param_scheduler[0].end = warmup_epochs
param_scheduler[1].update(begin=warmup_epochs, end=max_epochs, eta_min=0.0)
custom_hooks = [dict(type='beit_mm.GlobalBatchSizeHook', global_batch_size=global_batch_size)]
