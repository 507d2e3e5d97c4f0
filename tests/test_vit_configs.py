"""ViT's recipes: the numbers of the paper's tables 3, 4 and 8, and a run from one to the next."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, DefaultScope
from PIL import Image

from beit_mm.engine import build_runner
from beit_mm.models.sizes import ARCHS

ROOT = Path(__file__).parent.parent / 'configs'
ARCH = dict(embed_dims=192, num_layers=2, num_heads=3, feedforward_channels=48)

# ViT's table 3: epochs, rate, how it goes down, weight decay, dropout, clipping (ImageNet alone).
ON_IMAGENET = (300, 3e-3, 'cosine', 0.3, 0.1, 1.0)
ON_IMAGENET_21K = (90, 1e-3, 'linear', 0.03, 0.1, None)
ON_JFT = (7, 8e-4, 'linear', 0.1, 0.0, None)
PRETRAINING = dict(
    vit_scratch_imagenet=('base', 16, *ON_IMAGENET),
    vit_adam_scratch_imagenet=('base', 16, *ON_IMAGENET),
    vit_patch32_scratch_imagenet=('base', 32, *ON_IMAGENET),
    vit_large_scratch_imagenet=('large', 16, *ON_IMAGENET),
    vit_large_patch32_scratch_imagenet=('large', 32, *ON_IMAGENET),
    vit_pretrain_imagenet21k=('base', 16, *ON_IMAGENET_21K),
    vit_patch32_pretrain_imagenet21k=('base', 32, *ON_IMAGENET_21K),
    vit_large_pretrain_imagenet21k=('large', 16, *ON_IMAGENET_21K),
    **{'vit/table8': ('base', 16, *ON_JFT)},
)
# ViT's table 4: steps; images of the data set, its classes; size.
FINE_TUNING = dict(
    vit_finetune_imagenet_384=(20_000, 1_281_167, 1000, 384),
    vit_large_finetune_imagenet_384=(20_000, 1_281_167, 1000, 384),
    vit_large_finetune_imagenet_512=(20_000, 1_281_167, 1000, 512),
    vit_finetune_cifar10=(10_000, 50_000, 10, 384),
    vit_finetune_cifar100=(10_000, 50_000, 100, 384),
    vit_finetune_pets=(500, 3_680, 37, 384),
    vit_finetune_flowers=(500, 1_020, 102, 384),
)
RATES = {True: (0.003, 0.01, 0.03, 0.06), False: (0.001, 0.003, 0.01, 0.03)}


def rates_of(cfg, per_epoch=10) -> np.ndarray:
    """The learning rate of every step, of ``per_epoch`` an epoch."""
    optimizer = dict(optimizer=dict(cfg.optim_wrapper.optimizer), type='OptimWrapper')
    wrapper = build_optim_wrapper(torch.nn.Linear(1, 1), optimizer)
    schedulers = []
    for scheduler in cfg.param_scheduler:
        assert scheduler.pop('convert_to_iter_based')
        kind = PARAM_SCHEDULERS.get(scheduler.pop('type'))
        schedulers.append(kind.build_iter_from_epoch(wrapper, epoch_length=per_epoch, **scheduler))
    rates = []
    for _ in range(cfg.train_cfg.max_epochs * per_epoch):
        rates.append(wrapper.get_lr()['lr'][0])
        wrapper.optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return np.array(rates)


@pytest.mark.parametrize('name', PRETRAINING)
def test_pretraining_has_the_numbers_of_table_3(name):
    arch, patch, epochs, rate, way, decay, dropout, clip = PRETRAINING[name]
    cfg = Config.fromfile(ROOT / f'{name}.py')
    backbone, head = cfg.model.backbone, cfg.model.head
    assert (backbone.arch, backbone.patch_size, backbone.img_size) == (arch, patch, 224)
    assert (backbone.drop_rate, backbone.out_type) == (dropout, 'cls_token')
    assert head.hidden_dim == head.in_channels == ARCHS[arch]['embed_dims']
    assert [hook.global_batch_size for hook in cfg.custom_hooks] == [4096]
    assert (cfg.optim_wrapper.get('clip_grad') or {}).get('max_norm') == clip
    # Of the authors' code, as the next.
    assert cfg.train_dataloader.dataset.pipeline[1].crop_ratio_range == (0.05, 1.0)
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.type == ('Adam' if 'adam' in name else 'beit_mm.FusedAdamW')
    assert (optimizer.betas, optimizer.weight_decay) == ((0.9, 0.999), decay)
    # 10,000 steps of 4096 images.
    images = 1_281_167 if decay == 0.3 else 14_197_122
    warmup = round(10_000 * 4096 / images)
    rates = rates_of(cfg)
    assert len(rates) == 10 * epochs
    assert np.argmax(rates) == pytest.approx(10 * warmup, abs=1)
    assert rates.max() == pytest.approx(rate)
    assert rates[-1] == pytest.approx(0, abs=rate / 20)
    left = np.linspace(0, 1, len(rates) - 10 * warmup, endpoint=False)
    expected = 1 - left if way == 'linear' else (1 + np.cos(np.pi * left)) / 2
    np.testing.assert_allclose(rates[10 * warmup :], rate * expected, atol=rate / 30)


@pytest.mark.parametrize('name', FINE_TUNING)
def test_fine_tuning_has_the_numbers_of_table_4(name):
    steps, images, classes, size = FINE_TUNING[name]
    cfg = Config.fromfile(ROOT / f'{name}.py')
    # Of an epoch the last step has fewer images.
    an_epoch = math.ceil(images / 512)
    assert cfg.train_cfg.max_epochs * an_epoch == pytest.approx(steps, abs=an_epoch / 2)
    assert cfg.custom_hooks[0].global_batch_size == 512
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.momentum, optimizer.weight_decay) == ('SGD', 0.9, 0.0)
    assert optimizer.lr in RATES['imagenet' in name]
    assert cfg.optim_wrapper.clip_grad.max_norm == 1.0
    # Of the released code: L/16 keeps its dropout.
    dropout = 0.1 if 'large' in name else 0.0
    assert (cfg.model.backbone.img_size, cfg.model.backbone.drop_rate) == (size, dropout)
    crop = cfg.train_dataloader.dataset.pipeline[1]
    assert (crop.scale, crop.crop_ratio_range) == (size, (0.05, 1.0))
    assert cfg.test_dataloader.dataset.pipeline[2].crop_size == size
    assert cfg.model.head.num_classes == cfg.model.data_preprocessor.num_classes == classes
    rates = rates_of(cfg)
    cosine = (1 + np.cos(np.pi * np.linspace(0, 1, len(rates), endpoint=False))) / 2
    np.testing.assert_allclose(rates, optimizer.lr * cosine, rtol=1e-4, atol=1e-6)
    averaged = [1 - hook.momentum for hook in cfg.custom_hooks if hook.type == 'EMAHook']
    assert averaged == ([0.9999] if size == 512 else [])


def test_heads_begin_as_the_paper_has_them():
    for name in ('vit_scratch_imagenet', 'vit_finetune_imagenet_384'):
        cfg = Config.fromfile(ROOT / f'{name}.py')
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            head = MODELS.build(cfg.model.head)
            head.init_weights()
        tokens = torch.randn(2, 768)
        scores = head((tokens,))
        assert scores.equal(torch.zeros(2, 1000))
        layers = [m for m in head.modules() if isinstance(m, torch.nn.Linear)]
        assert len(layers) == (2 if 'scratch' in name else 1)
        if 'scratch' in name:
            torch.testing.assert_close(head.pre_logits((tokens,)), layers[0](tokens).tanh())
            assert layers[0].weight.any()


def test_variants_differ_from_table_8_by_what_their_names_say():
    base = Config.fromfile(ROOT / 'vit/table8.py').to_dict()
    backbones, rates = {}, {}
    for path in sorted((ROOT / 'vit').glob('*.py')):
        cfg = Config.fromfile(path).to_dict()
        if cfg['model']['type'] != 'ImageClassifier':
            continue  # masked patch prediction
        own = cfg['model'].pop('backbone')
        changed = {k: v for k, v in own.items() if base['model']['backbone'].get(k) != v}
        backbones[path.stem] = changed
        rates[path.stem] = cfg['optim_wrapper']['optimizer'].pop('lr')
        plain = Config.fromfile(ROOT / 'vit/table8.py').to_dict()
        if 'mean_pooling' in path.stem:
            assert cfg['model']['head'].pop('hidden_dim') is None
            del plain['model']['head']['hidden_dim']
        del plain['model']['backbone'], plain['optim_wrapper']['optimizer']['lr']
        assert cfg == plain, path.stem
    assert rates.pop('mean_pooling') == 3e-4
    assert set(rates.values()) == {8e-4}
    two, mean = dict(positions='learned-2d'), dict(out_type='avg_featmap', num_extra_tokens=0)
    every, shared = dict(positions_at='every_block'), dict(positions_at='every_block_shared')
    assert backbones == dict(
        table8={},
        no_positions=dict(positions=None),
        positions_1d_every_block=every,
        positions_1d_every_block_shared=shared,
        positions_2d=two,
        positions_2d_every_block=two | every,
        positions_2d_every_block_shared=two | shared,
        relative_positions=dict(positions=None, use_rel_pos_bias=True),
        mean_pooling=mean,
        mean_pooling_rate_of_cls_token=mean,
    )


def test_from_scratch_to_fine_tuned_at_another_size_with_averaged_weights(tmp_path, monkeypatch):
    """Two steps of each, small, through the Runner: positions resampled, averages kept."""
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for kind in ('cat', 'dog'):
            folder = tmp_path / split / kind
            folder.mkdir(parents=True)
            for index in range(2):
                pixels = rng.integers(0, 256, (70, 60, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f'{index}.png')

    def run(name, size, **backbone):
        cfg = Config.fromfile(ROOT / f'{name}.py')
        cfg.model.backbone.update(arch=ARCH, img_size=size, **backbone)
        cfg.model.head.update(in_channels=192, num_classes=2)
        cfg.model.data_preprocessor.num_classes = 2
        cfg.val_evaluator.topk = cfg.test_evaluator.topk = 1
        cfg.update(launcher='none', work_dir=str(tmp_path / name), experiment_name=name)
        cfg.train_cfg.max_epochs = 1
        cfg.custom_hooks[0].global_batch_size = 2
        for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
            loader.update(batch_size=2, num_workers=0, persistent_workers=False)
            loader.dataset.data_root = str(tmp_path)
        cfg.train_dataloader.dataset.pipeline[1].scale = size
        for loader in (cfg.val_dataloader, cfg.test_dataloader):
            loader.dataset.pipeline[1].scale = loader.dataset.pipeline[2].crop_size = size
        runner = build_runner(cfg, 'train')
        runner.train()
        return runner.model, torch.load(tmp_path / name / 'epoch_1.pth', weights_only=False)

    run('vit_scratch_imagenet', 48)
    init_cfg = dict(
        type='Pretrained', checkpoint=str(tmp_path / 'vit_scratch_imagenet/epoch_1.pth')
    )
    steps = []
    step = torch.optim.SGD.step

    def watched(self, *args, **kwargs):
        step(self, *args, **kwargs)
        heads = (p for group in self.param_groups for p in group['params'] if p.shape == (2, 192))
        steps.append(next(heads).detach().clone())

    monkeypatch.setattr(torch.optim.SGD, 'step', watched)
    model, saved = run('vit_large_finetune_imagenet_512', 64, init_cfg=init_cfg)
    assert model.backbone.pos_embed.shape == (1, 1 + 4 * 4, 192)
    first, last = steps
    averaged = saved['state_dict']['head.fc.weight']
    torch.testing.assert_close(averaged, 0.9999 * first + 0.0001 * last)
    assert saved['ema_state_dict']['module.head.fc.weight'].equal(last)
    assert not averaged.equal(last)
