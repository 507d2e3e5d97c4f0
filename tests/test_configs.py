"""Every config in the repository builds: model, pipeline on a made image, optimizer, schedules."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import (
    DATASETS,
    HOOKS,
    METRICS,
    MODELS,
    PARAM_SCHEDULERS,
    TRANSFORMS,
    DefaultScope,
)
from PIL import Image

from beit_mm.engine import BrokenImagesHook, NonFiniteHook, check_config
from beit_mm.models.sizes import ARCHS

ROOT = Path(__file__).parent.parent
CONFIGS = sorted(
    path
    for path in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in path.relative_to(ROOT / 'configs').as_posix()
)
# Those of segmentation have a file of their own.
CONFIGS = [path for path in CONFIGS if Config.fromfile(path).model.type != 'EncoderDecoder']
SMALL = dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48)


@pytest.fixture(scope='module')
def class_folders(tmp_path_factory):
    """Training and validation with two classes of two photos of unequal sizes each."""
    root = tmp_path_factory.mktemp('images')
    rng = np.random.default_rng(0)
    for split in ('train', 'val', 'images/training', 'images/validation'):
        for name in ('cat', 'dog'):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index, size in enumerate([(300, 280, 3), (150, 400, 3)]):
                Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(
                    folder / f'{index}.png'
                )
    (root / 'few_labels.txt').write_text('cat/0.png 0\ndog/1.png 1\n')
    return root


def shrink(cfg: Config, tmp_path: Path) -> None:
    """Make the model small enough for a test, without touching what makes the recipe."""
    model = cfg.model
    if 'backbone' in model:
        arch = model.backbone.arch
        width = (ARCHS[arch] if isinstance(arch, str) else arch)['embed_dims']
        if 'decoder' in model:
            assert model.decoder.encoder_dims == width
            width = model.decoder.embed_dims
            model.decoder.update(encoder_dims=24, embed_dims=24, num_layers=1, num_heads=2)
        if 'neck' in model:
            assert model.neck.input_features == width
            model.neck.input_features = 24
        assert model.head.get('embed_dims', model.head.get('in_channels')) == width
        model.backbone.arch = SMALL
        model.backbone.init_cfg = None
        if 'frozen_stages' in model.backbone:
            model.backbone.frozen_stages = min(model.backbone.frozen_stages, SMALL['num_layers'])
        if 'out_indices' in model.backbone:
            model.backbone.out_indices = -1
        model.head['embed_dims' if 'embed_dims' in model.head else 'in_channels'] = 24
    if model.get('target_generator', {}).get('type') == 'beit_mm.PCATargetGenerator':
        path = tmp_path / 'components.npz'
        np.savez(path, mean=np.zeros(768), components=np.eye(768))
        model.target_generator.checkpoint = str(path)
    tokenizer = model.get('target_generator', {}).get('tokenizer') or model
    if tokenizer.type == 'beit_mm.DiscreteVAE':
        tokenizer.update(hidden=4, blocks_per_group=1)
    if model.get('target_generator', {}).get('type') == 'beit_mm.DVAETargetGenerator':
        path = tmp_path / 'tokenizer.pth'
        torch.save(MODELS.build({**tokenizer, 'with_decoder': False}).state_dict(), path)
        model.target_generator.checkpoint = str(path)


def list_photos(cfg: Config, class_folders: Path, tmp_path: Path) -> str:
    """A list of the photos, with labels if the config classifies."""
    label = ' {}' if cfg.model.type == 'ImageClassifier' else ''
    lines = [
        f'train/{c}/{i}.png{label}'.format(n) for n, c in enumerate(('cat', 'dog')) for i in (0, 1)
    ]
    path = tmp_path / 'list.txt'
    path.write_text('\n'.join(lines))
    return str(path)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_config_states_its_command_and_takes_a_training_step(path, class_folders, tmp_path):
    cfg = Config.fromfile(path)
    docstring = path.read_text().split('"""')[1]
    assert str(path.relative_to(ROOT)) in docstring, 'the docstring gives the command'

    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        shrink(cfg, tmp_path)
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            if cfg.get(loader):
                cfg[loader].dataset.data_root = str(class_folders)
                if path.parent.name in ('own', 'methods'):
                    cfg[loader].dataset.ann_file = list_photos(cfg, class_folders, tmp_path)
        for mode in ('train', 'test'):
            check_config(cfg, mode)
        model = MODELS.build(cfg.model)
        model.init_weights()
        optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        schedulers = cfg.param_scheduler
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            convert = scheduler.pop('convert_to_iter_based', False)
            cls = PARAM_SCHEDULERS.get(scheduler.pop('type'))
            build = cls.build_iter_from_epoch if convert else cls
            extra = dict(epoch_length=10) if convert else {}
            build(optimizer=optim_wrapper, **scheduler, **extra)
        for hook in cfg.get('custom_hooks', []):
            HOOKS.build(hook)

        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            if cfg.get(loader):
                dataset = DATASETS.build(cfg[loader].dataset)
                batch = default_collate([dataset[0], dataset[1]])
                if loader == 'train_dataloader':
                    losses = model.train().train_step(batch, optim_wrapper)
                    assert torch.isfinite(losses['loss'])
                else:
                    evaluator = METRICS.build(cfg[loader.replace('dataloader', 'evaluator')])
                    outputs = model.eval().test_step(batch)
                    samples = [sample.to_dict() for sample in outputs]
                    evaluator.process(batch, samples)
                    assert evaluator.evaluate(size=2)


def test_commands_start_no_more_gpus_than_the_global_batch_divides_into():
    """GlobalBatchSizeHook refuses others, on the machine with all its GPUs."""
    places = [*(ROOT / 'configs').rglob('*.py'), *(ROOT / 'docs').rglob('*.md'), ROOT / 'README.md']
    told = {
        pair
        for place in places
        for pair in re.findall(r'dist_train\.sh (configs/\S+\.py) (\d+)', place.read_text('utf-8'))
    }
    assert len(told) > 100
    for name, gpus in sorted(told):
        cfg = Config.fromfile(ROOT / name)
        batches = [hook.get('global_batch_size') for hook in cfg.get('custom_hooks', [])]
        at_once = int(gpus) * cfg.train_dataloader.batch_size
        assert not [batch for batch in batches if batch and batch % at_once], (name, gpus)


def test_broken_images_and_figures_that_are_not_finite_end_a_run_where_the_docs_say():
    hooks = Config.fromfile(ROOT / 'configs/_base_/default_runtime.py').default_hooks
    assert (hooks.broken_images.max_share, hooks.non_finite.max_in_a_row) == (0.01, 10)
    assert (BrokenImagesHook().max_share, NonFiniteHook().max_in_a_row) == (0.01, 10)
    # A tenth of one's own images, which are few.
    own = {path.stem: Config.fromfile(path) for path in (ROOT / 'configs/own').glob('[!_]*.py')}
    shares = {name: cfg.default_hooks.broken_images.max_share for name, cfg in own.items()}
    assert shares == dict.fromkeys(['dvae', 'finetune', 'mae', 'pretrain', 'segment'], 0.1)


def test_validations_are_logged_by_iterations_where_a_run_counts_these():
    """By epochs, of which such a run has none, each would take the place of the one before."""
    folders = [ROOT / 'configs' / name for name in ('own', 'quickstart', 'camvid')]
    paths = [path for folder in folders for path in folder.glob('[!_]*.py')]
    for path in (*paths, *(ROOT / 'configs').glob('*dvae*.py')):
        cfg = Config.fromfile(path)
        assert cfg.train_cfg.type == 'IterBasedTrainLoop'
        assert cfg.default_hooks.logger.log_metric_by_epoch is False, path


def test_pretraining_follows_the_paper():
    """The figures of FACTS' recipe, held against what the config and its schedules compute."""
    cfg = Config.fromfile(ROOT / 'configs/beit_pretrain.py')
    assert cfg.train_dataloader.batch_size * 16 == 2048 == cfg.custom_hooks[0].global_batch_size
    model = torch.nn.Linear(1, 1)
    optim_wrapper = build_optim_wrapper(model, dict(optimizer=cfg.optim_wrapper.optimizer))
    schedulers = [
        PARAM_SCHEDULERS.get(s.pop('type')).build_iter_from_epoch(
            optimizer=optim_wrapper, epoch_length=5, **s
        )
        for s in cfg.param_scheduler
        if s.pop('convert_to_iter_based')
    ]
    rates = []
    for _ in range(800 * 5):
        rates.append(optim_wrapper.get_lr()['lr'][0])
        optim_wrapper.optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert np.argmax(rates) == pytest.approx(10 * 5, abs=1), 'warm-up takes ten epochs'
    assert max(rates) == pytest.approx(1.5e-3, rel=1e-6)
    assert rates[-1] == pytest.approx(1e-5, rel=1e-2)
    optimizer = cfg.optim_wrapper.optimizer
    assert isinstance(optim_wrapper.optimizer, torch.optim.AdamW)
    assert (optimizer.betas, optimizer.eps) == ((0.9, 0.999), 1e-8)
    assert optimizer.weight_decay == 0.05
    assert cfg.optim_wrapper.clip_grad.max_norm == 3.0
    assert cfg.model.backbone.drop_path_rate == 0.1
    middle = 10 * 5 + 790 * 5 // 2
    assert rates[middle] == pytest.approx((1.5e-3 + 1e-5) / 2, rel=1e-2), 'cosine'


def test_pretraining_builds_the_papers_pipeline_and_networks():
    cfg = Config.fromfile(ROOT / 'configs/beit_pretrain.py')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        steps = [TRANSFORMS.build(step) for step in cfg.train_dataloader.dataset.pipeline]
        preprocessor = MODELS.build(cfg.model.data_preprocessor)
    by_name = {type(step).__name__: step for step in steps}
    views = by_name['LoadTwoViews']
    assert views.sizes == ((224, 224), (112, 112))
    assert (views.scale, views.ratio) == ((0.08, 1.0), (3 / 4, 4 / 3))
    assert views.interpolations == ('bicubic', 'lanczos')
    assert views.jitter == [('brightness', 0.4), ('contrast', 0.4), ('saturation', 0.4)]
    assert views.flip_prob == 0.5
    assert views.num_views is None, 'every view is fresh'
    masks = [by_name['BlockwiseMaskGenerator'].transform({})['mask'] for _ in range(5)]
    assert [(mask.shape, mask.sum()) for mask in masks] == [((14, 14), 75)] * 5
    np.testing.assert_allclose(preprocessor.mean.flatten() / 255, (0.485, 0.456, 0.406), atol=1e-6)
    np.testing.assert_allclose(preprocessor.std.flatten() / 255, (0.229, 0.224, 0.225), atol=1e-6)
    assert (preprocessor.second_mean == 0).all()
    assert (preprocessor.second_std == 255).all()
    for name, scale in (('beit_pretrain', 0.1), ('beit_large_pretrain', 1e-5)):
        cfg = Config.fromfile(ROOT / f'configs/{name}.py')
        assert cfg.model.backbone.layer_scale_init_value == scale


def test_pretraining_decays_matrices_alone():
    cfg = Config.fromfile(ROOT / 'configs/beit_pretrain.py')
    backbone = MODELS.build({**cfg.model.backbone, 'arch': SMALL, 'use_abs_pos_emb': True})
    optim_wrapper = build_optim_wrapper(torch.nn.ModuleDict(dict(backbone=backbone)),
                                        cfg.optim_wrapper)  # fmt: skip
    names = {id(parameter): name for name, parameter in backbone.named_parameters()}
    decayed = {
        names[id(parameter)]
        for group in optim_wrapper.optimizer.param_groups
        for parameter in group['params']
        if group['weight_decay'] > 0
    }
    expected = {n for n, p in backbone.named_parameters() if p.ndim > 1}
    expected -= {'cls_token', 'pos_embed'}
    assert decayed == expected


def test_no_recipe_waits_for_a_gpu_to_count_hidden_patches():
    models = {path: Config.fromfile(path).model for path in CONFIGS}
    heads = {
        path: model.head
        for path, model in models.items()
        if model.get('head', {}).get('type') in ('beit_mm.MIMHead', 'beit_mm.PixelHead')
    }
    assert heads[ROOT / 'configs/beit_pretrain.py'].num_masked == 75
    counted = [path for path, head in heads.items() if head.get('num_masked') is None]
    # Of all places there is nothing to count.
    assert [path for path in counted if not models[path].get('predict_all')] == []


@pytest.mark.parametrize(
    ('name', 'trained'),
    [
        ('mae_large_partial_finetune', {'norm1', 'attn', 'norm2', 'mlp'}),
        ('mae_large_half_block_finetune', {'norm2', 'mlp'}),
    ],
)
def test_partial_fine_tuning_moves_a_block_or_half_of_it(name, trained):
    cfg = Config.fromfile(ROOT / f'configs/{name}.py')
    depth = ARCHS['large']['num_layers']
    cfg.model.backbone.update(arch=dict(SMALL, num_layers=depth), img_size=32, init_cfg=None)
    cfg.model.backbone.drop_path_rate = 0.0
    cfg.model.head.in_channels = SMALL['embed_dims']
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    optim_wrapper.update_params(model.train()(torch.randn(2, 3, 32, 32))[0].square().sum())
    moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    last = f'backbone.blocks.{depth - 1}.'
    assert {n.removeprefix(last).split('.')[0] for n in moved if n.startswith(last)} == trained
    others = {n for n in moved if not n.startswith(last)}
    ends = ('backbone.fc_norm', 'head.fc')
    assert others == {f'{end}.{leaf}' for end in ends for leaf in ('weight', 'bias')}


@pytest.mark.parametrize(
    ('name', 'rate', 'rate_of_first', 'epochs'),
    [
        # Base rate times batch / 256, times the decay to the power of the depth.
        ('mae_finetune_imagenet', 5e-4 * 4, 0.65**13, 100),
        ('mae_large_finetune_imagenet', 1e-3 * 4, 0.75**25, 50),
        ('mae_huge_finetune_imagenet', 1e-3 * 4, 0.75**33, 50),
        ('mae_huge_finetune_imagenet_448', 1e-3 * 4, 0.75**33, 50),
        ('mae_linear_probe', 0.1 * 64, None, 90),
        ('mae_pretrain', 1.5e-4 * 16, None, 800),
    ],
)
def test_masked_autoencoders_have_the_papers_rates(name, rate, rate_of_first, epochs):
    cfg = Config.fromfile(ROOT / f'configs/{name}.py')
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(rate)
    assert cfg.train_cfg.max_epochs == epochs == cfg.param_scheduler[1].end
    assert cfg.param_scheduler[0].end == cfg.param_scheduler[1].begin
    assert cfg.param_scheduler[0].end == dict(mae_pretrain=40, mae_linear_probe=10).get(name, 5)
    if rate_of_first is not None:
        depth = ARCHS[cfg.model.backbone.arch]['num_layers']
        assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate ** (depth + 1) == rate_of_first


def test_every_row_of_the_masked_autoencoders_table_is_one_change():
    """Every file of the family is its base but for what its name says."""
    base = Config.fromfile(ROOT / 'configs/mae/table1.py')
    assert base.model.target_generator.normalize is False
    for path in sorted((ROOT / 'configs/mae').glob('*.py')):
        cfg = Config.fromfile(path)
        mask = next(s for s in cfg.train_dataloader.dataset.pipeline if 'num_masked' in s)
        assert mask == next(s for s in cfg.test_dataloader.dataset.pipeline if 'num_masked' in s)
        assert cfg.model.head.num_masked == mask.num_masked
        kind, _, number = path.stem.rpartition('_')
        if kind in ('random', 'blocks', 'grid'):
            assert mask.num_masked == round(196 * int(number) / 100)
        found = dict(
            decoder_depth=cfg.model.decoder.num_layers, decoder_width=cfg.model.decoder.embed_dims,
            epochs=cfg.train_cfg.max_epochs,
        )  # fmt: skip
        usual = dict(decoder_depth=8, decoder_width=512, epochs=800)
        assert found == {**usual, **({kind: int(number)} if kind in usual else {})}
