"""Every config in the repository builds: model, pipeline on a made image, optimizer, schedules."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS, PARAM_SCHEDULERS, DefaultScope
from PIL import Image

ROOT = Path(__file__).parent.parent
CONFIGS = sorted(
    path
    for path in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in path.relative_to(ROOT / 'configs').as_posix()
)
SMALL = dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48)


@pytest.fixture(scope='module')
def class_folders(tmp_path_factory):
    """train/ and val/ with two classes of two photos of unequal sizes each."""
    root = tmp_path_factory.mktemp('images')
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
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
        model.backbone.arch = SMALL
        model.backbone.init_cfg = None
        model.head['embed_dims' if 'embed_dims' in model.head else 'in_channels'] = 24
    tokenizer = model.get('target_generator', {}).get('tokenizer') or model
    if tokenizer.type == 'beit_mm.DiscreteVAE':
        tokenizer.update(hidden=4, blocks_per_group=1)
    if 'target_generator' in model:
        path = tmp_path / 'tokenizer.pth'
        torch.save(MODELS.build({**tokenizer, 'with_decoder': False}).state_dict(), path)
        model.target_generator.checkpoint = str(path)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_config_states_its_command_and_takes_a_training_step(path, class_folders, tmp_path):
    cfg = Config.fromfile(path)
    docstring = path.read_text().split('"""')[1]
    assert str(path.relative_to(ROOT)) in docstring, 'the docstring gives the command'

    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        shrink(cfg, tmp_path)
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
                cfg[loader].dataset.data_root = str(class_folders)
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
    middle = 10 * 5 + 790 * 5 // 2
    assert rates[middle] == pytest.approx((1.5e-3 + 1e-5) / 2, rel=1e-2), 'cosine'


def test_pretraining_decays_matrices_alone():
    cfg = Config.fromfile(ROOT / 'configs/beit_pretrain.py')
    backbone = MODELS.build({**cfg.model.backbone, 'arch': SMALL, 'use_abs_pos_emb': False})
    optim_wrapper = build_optim_wrapper(torch.nn.ModuleDict(dict(backbone=backbone)),
                                        cfg.optim_wrapper)  # fmt: skip
    names = {id(parameter): name for name, parameter in backbone.named_parameters()}
    decayed = {
        names[id(parameter)]
        for group in optim_wrapper.optimizer.param_groups
        for parameter in group['params']
        if group['weight_decay'] > 0
    }
    expected = {n for n, p in backbone.named_parameters() if p.ndim > 1 and n != 'cls_token'}
    assert decayed == expected
