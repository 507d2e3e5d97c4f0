"""What the Runner loads: any layout, no code from the file, a resumed run's log."""

import os
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from PIL import Image
from torch import nn

from beit_mm.checkpoints import CheckpointError, convert_state_dict, load_state_dict
from beit_mm.engine import ConfigError, build_runner
from beit_mm.engine.running.public_weights import (
    _check_resumable,
    load_from_checked_file,
    read_safely,
)
from beit_mm.models import BEiT

ROOT = Path(__file__).parent.parent.parent
ARCH = dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64)


@pytest.fixture(autouse=True)
def mmengines_own_loaders(monkeypatch):
    """Undo the registration of loaders, which would leak into other tests."""
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp('images')
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for name in 'ab':
            (root / split / name).mkdir(parents=True)
            for index in range(4):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f'{index}.png')
    (root / 'few_labels.txt').write_text(
        ''.join(
            f'{name}/{index}.png {label}\n' for label, name in enumerate('ab') for index in range(4)
        )
    )
    return root


def config(images, work_dir, **changes):
    """The quickstart's classifier, smaller, on eight images."""
    cfg = Config.fromfile(ROOT / 'configs/quickstart/finetune.py')
    cfg.merge_from_dict(
        dict(
            launcher='none',
            work_dir=str(work_dir),
            experiment_name=f'loading-{work_dir.name}',
            train_cfg=dict(max_iters=2, val_interval=2),
            default_hooks=dict(checkpoint=dict(interval=1)),
            **{
                f'{name}_dataloader.dataset.data_root': str(images)
                for name in ('train', 'val', 'test')
            },
        )
    )
    cfg.train_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
    cfg.model.backbone.update(arch=ARCH, use_abs_pos_emb=False, init_cfg=None)
    cfg.model.head.in_channels = 32
    cfg.param_scheduler = None
    cfg.update(changes)
    return cfg


def random_classifier_weights(grid=(4, 4), classes=10):
    generator = torch.Generator().manual_seed(0)
    backbone = BEiT(ARCH, img_size=(8 * grid[0], 8 * grid[1]), patch_size=8)
    weights = {
        f'backbone.{name}': torch.randn(tensor.shape, generator=generator) * 0.1
        for name, tensor in backbone.state_dict().items()
        if name != 'patch_grid'
    }
    weights['backbone.patch_grid'] = torch.tensor(grid)
    weights['head.fc.weight'] = torch.randn(classes, 32, generator=generator)
    weights['head.fc.bias'] = torch.randn(classes, generator=generator)
    return weights


def assert_has(model, weights):
    own = model.state_dict()
    for name, tensor in weights.items():
        assert own[name].cpu().equal(tensor), name


# --- layouts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('layout', 'wrapper', 'ending'),
    [
        ('beit_mm', 'state_dict', '.pth'),
        ('unilm', 'model', '.pth'),
        ('timm', None, '.pth'),
        ('timm', None, '.safetensors'),
        ('huggingface', None, '.safetensors'),
        ('huggingface5', None, '.pth'),
        ('mmpretrain', 'state_dict', '.pth'),
    ],
)
def test_testing_takes_every_layout(images, tmp_path, layout, wrapper, ending):
    weights = random_classifier_weights()
    path = tmp_path / f'weights{ending}'
    theirs = {n: t.clone() for n, t in convert_state_dict(weights, to=layout).items()}
    if ending == '.safetensors':
        safetensors.torch.save_file(theirs, path)
    else:
        torch.save({wrapper: theirs} if wrapper else theirs, path)
    runner = build_runner(config(images, tmp_path, load_from=str(path)), 'test')
    assert 'accuracy/top1' in runner.test()
    assert_has(runner.model, weights)


@pytest.mark.parametrize('trained', [['b', 'a'], ['a', 'b'], ['x', 'y'], None])
def test_testing_refuses_classes_of_other_numbers(images, tmp_path, trained):
    path = tmp_path / 'trained.pth'
    meta = dict(dataset_meta=dict(classes=trained))
    torch.save(dict(state_dict=random_classifier_weights(), meta=meta), path)
    runner = build_runner(config(images, tmp_path, load_from=str(path)), 'test')
    if trained != ['b', 'a']:
        assert 'accuracy/top1' in runner.test()
        return
    said = "test_dataloader.dataset: class 'a' has the number 0, and in the training of .* it is 1"
    with pytest.raises(ConfigError, match=said):
        runner.test()


def test_testing_refuses_a_checkpoint_without_the_head(images, tmp_path):
    path = tmp_path / 'pretrained.pth'
    weights = random_classifier_weights()
    torch.save({n: t for n, t in weights.items() if n.startswith('backbone.')}, path)
    runner = build_runner(config(images, tmp_path, load_from=str(path)), 'test')
    with pytest.raises(
        CheckpointError, match=r'pretrained\.pth lacks head\.fc\.weight, head\.fc\.b'
    ):
        runner.test()


def test_training_starts_from_a_classifier_with_other_classes_and_resolution(images, tmp_path):
    path = tmp_path / 'unilm.pth'
    weights = random_classifier_weights(grid=(6, 6), classes=7)
    torch.save(dict(model=convert_state_dict(weights, to='unilm')), path)
    cfg = config(images, tmp_path / 'run', load_from=str(path))
    # A step of size zero shows what was loaded.
    cfg.optim_wrapper.optimizer.update(lr=0.0)
    runner = build_runner(cfg, 'train')
    runner.train()
    same = {
        name: tensor
        for name, tensor in weights.items()
        if name.startswith('backbone.') and not name.endswith(('.table', 'patch_grid'))
    }
    assert len(same) > 20
    assert_has(runner.model, same)
    assert runner.model.head.fc.weight.shape == (10, 32)
    log = next(tmp_path.glob('run/*/*.log')).read_text()
    assert 'unilm.pth: layout unilm' in log
    assert 'resized 2 relative tables 6 x 6 -> 4 x 4' in log
    assert 'missing head.fc.weight, head.fc.bias' in log


def test_averages_of_the_weights_start_from_what_was_loaded(images, tmp_path):
    path = tmp_path / 'timm.pth'
    weights = random_classifier_weights()
    torch.save(convert_state_dict(weights, to='timm'), path)
    cfg = config(images, tmp_path / 'run', load_from=str(path), custom_hooks=[dict(type='EMAHook')])
    cfg.optim_wrapper.optimizer.update(lr=0.0)
    runner = build_runner(cfg, 'train')
    runner.train()
    averaged = load_state_dict(tmp_path / 'run/iter_2.pth', ema=True)
    for name in ('backbone.blocks.1.attn.qkv.weight', 'head.fc.weight'):
        torch.testing.assert_close(averaged[name], weights[name])


def test_a_checkpoint_of_something_else_is_refused_by_name(images, tmp_path):
    path = tmp_path / 'resnet.pth'
    torch.save({'layer1.0.conv1.weight': torch.zeros(3)}, path)
    runner = build_runner(config(images, tmp_path / 'run', load_from=str(path)), 'train')
    with pytest.raises(CheckpointError, match=r'resnet\.pth: no weights of a Vision Transformer'):
        runner.train()


# --- no code from the file --------------------------------------------------------------------


class MakesAFolder:
    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize('mode', ['load_from', 'resume', 'test'])
def test_a_checkpoint_that_would_run_code_is_refused(images, tmp_path, mode):
    marker, path = tmp_path / 'ran', tmp_path / 'hostile.pth'
    weights = random_classifier_weights()
    torch.save(dict(state_dict=weights, meta=dict(epoch=0, iter=1, x=MakesAFolder(marker))), path)
    cfg = config(images, tmp_path / 'run', load_from=str(path), resume=mode == 'resume')
    runner = build_runner(cfg, 'test' if mode == 'test' else 'train')
    with pytest.raises(CheckpointError, match=r'hostile\.pth was refused.*mkdir'):
        runner.test() if mode == 'test' else runner.train()
    assert not marker.exists()


def test_resuming_restores_the_log_and_does_not_run_the_config_in_the_file(images, tmp_path):
    runner = build_runner(config(images, tmp_path / 'run'), 'train')
    runner.train()
    path, marker = tmp_path / 'run/iter_2.pth', tmp_path / 'ran'
    content = torch.load(path, weights_only=False)
    content['meta']['config'] = f'import os\nos.mkdir({str(marker)!r})\n'
    torch.save(content, path)

    cfg = config(images, tmp_path / 'again', load_from=str(path), resume=True)
    cfg.train_cfg.max_iters = 3
    again = build_runner(cfg, 'train')
    again.train()
    assert not marker.exists()
    assert again.iter == 3
    assert_has(again.model, {n: t for n, t in content['state_dict'].items() if n.endswith('grid')})
    losses = again.message_hub.get_scalar('train/loss')
    assert isinstance(losses, HistoryBuffer)
    before = content['message_hub']['log_scalars']['train/loss'].data
    assert len(before[0]) == 2
    for new, old in zip(losses.data, before, strict=True):
        assert new[:2].tolist() == old.tolist()
        assert len(new) == 3


@pytest.mark.parametrize(
    'beside', [dict(meta=3), dict(message_hub=[1]), dict(message_hub=dict(log_scalars=dict(a=1)))]
)
def test_a_checkpoint_of_a_strange_form_is_refused_by_name(tmp_path, beside):
    path = tmp_path / 'strange.pth'
    torch.save(dict(state_dict=random_classifier_weights(), **beside), path)
    with pytest.raises(CheckpointError, match=r'strange\.pth has the form of none of mmengine'):
        load_from_checked_file(str(path))


@pytest.mark.parametrize(
    'path',
    ['s3://bucket/beit.pth', 'petrel://beit.pth', 'torchvision://resnet18', 'mmcls://vit',
     'pavi://run', 'open-mmlab://beit', 'modelzoo://beit', 'cluster:s3://bucket/beit.pth'],
)  # fmt: skip
def test_other_storage_is_refused_by_name(path):
    read_safely()
    with pytest.raises(
        CheckpointError,
        match=r'only files, folders.* are read|torchvision has no such Vision Transformer',
    ):
        CheckpointLoader.load_checkpoint(path)


def test_tensors_that_are_not_there_are_an_error_that_names_the_file(tmp_path):
    torch.save(dict(meta=dict(epoch=1), state_dict=dict(a=1)), tmp_path / 'none.pth')
    with pytest.raises(CheckpointError, match=r'none\.pth holds no tensors'):
        load_from_checked_file(str(tmp_path / 'none.pth'))


# --- resuming ---------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def run(images, tmp_path_factory):
    """A run of two steps."""
    folder = tmp_path_factory.mktemp('run')
    schemes = dict(CheckpointLoader._schemes)
    build_runner(config(images, folder), 'train').train()
    CheckpointLoader._schemes = schemes
    return folder / 'iter_2.pth'


def damaged(content, damage):
    weights = content['state_dict']
    if damage == 'lacks a block':
        for name in [n for n in weights if '.blocks.1.' in n]:
            del weights[name]
    elif damage == 'cut':
        weights['backbone.blocks.0.mlp.fc1.weight'] = weights['backbone.blocks.0.mlp.fc1.weight'][
            :3
        ]
    elif damage == 'more':
        weights['backbone.blocks.2.gamma_1'] = torch.ones(32)
    else:
        del content[damage]
    return content


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        ('lacks a block', r'missing backbone\.blocks\..*unknown none'),
        ('cut', r'of another size backbone\.blocks.*fc1\.weight; missing none'),
        ('more', r'unknown backbone\.blocks.*gamma_1'),
        ('meta', r'has no meta\.epoch, meta\.iter: .*load_from'),
        ('message_hub', 'has no message_hub'),
        ('optimizer', 'has no optimizer'),
    ],
)
def test_resuming_from_another_thing_is_refused(images, tmp_path, run, damage, message):
    path = tmp_path / 'other.pth'
    torch.save(damaged(torch.load(run, weights_only=False), damage), path)
    runner = build_runner(
        config(images, tmp_path / 'run', load_from=str(path), resume=True), 'train'
    )
    with pytest.raises(CheckpointError, match=rf'other\.pth is .*{message}'):
        runner.train()


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (lambda ema: ema.pop('module.head.fc.weight'), r'missing head\.fc\.weight'),
        (lambda ema: ema.update({'module.zzz': torch.ones(1)}), 'unknown zzz'),
        (lambda ema: ema.update({'module.head.fc.bias': torch.ones(3)}), r'size head\.fc\.bias'),
        (lambda ema: ema.clear(), 'holds no tensors'),
    ],
)
def test_weights_beside_averages_are_compared_too(images, tmp_path, damage, message):
    hooks = dict(custom_hooks=[dict(type='EMAHook')])
    build_runner(config(images, tmp_path / 'run', **hooks), 'train').train()
    content = torch.load(tmp_path / 'run/iter_2.pth', weights_only=False)
    damage(content['ema_state_dict'])
    torch.save(content, tmp_path / 'other.pth')
    load = dict(load_from=str(tmp_path / 'other.pth'), resume=True)
    runner = build_runner(config(images, tmp_path / 'again', **hooks, **load), 'train')
    with pytest.raises(CheckpointError, match=rf'other\.pth .*{message}'):
        runner.train()


def test_resuming_at_another_size_is_refused(images, tmp_path, run):
    cfg = config(images, tmp_path / 'run', load_from=str(run), resume=True)
    cfg.model.backbone.img_size = 48
    with pytest.raises(CheckpointError, match=r'iter_2\.pth is of a run with another model.*table'):
        build_runner(cfg, 'train').train()


# --- models without a BEiT --------------------------------------------------------------------


def tokenizer_config(images, work_dir, path):
    cfg = Config.fromfile(ROOT / 'configs/quickstart/dvae.py')
    cfg.merge_from_dict(
        dict(
            launcher='none',
            work_dir=str(work_dir),
            experiment_name=f'loading-{work_dir.name}',
            load_from=str(path),
            **{
                f'{name}_dataloader.dataset.data_root': str(images)
                for name in ('train', 'val', 'test')
            },
        )
    )
    return cfg


def test_a_tokenizer_is_tested_with_its_own_weights_alone(images, tmp_path):
    torch.save(random_classifier_weights(), tmp_path / 'beit.pth')
    runner = build_runner(tokenizer_config(images, tmp_path, tmp_path / 'beit.pth'), 'test')
    with pytest.raises(CheckpointError, match=r'beit\.pth has nothing of this model'):
        runner.test()
    weights = runner.model.state_dict()
    expected = {name: torch.full_like(tensor, 0.01) for name, tensor in weights.items()}
    torch.save(dict(state_dict=expected), tmp_path / 'dvae.pth')
    runner = build_runner(tokenizer_config(images, tmp_path / 'a', tmp_path / 'dvae.pth'), 'test')
    runner.test()
    assert_has(runner.model, expected)
    lost = next(name for name in expected if name.startswith('decoder.'))
    del expected[lost]
    torch.save(dict(state_dict=expected), tmp_path / 'cut.pth')
    runner = build_runner(tokenizer_config(images, tmp_path / 'b', tmp_path / 'cut.pth'), 'test')
    with pytest.raises(CheckpointError, match=rf'cut\.pth lacks {lost}'):
        runner.test()


def test_testing_needs_buffers_too(images, tmp_path):
    """BatchNorm's statistics are no parameters."""
    head = dict(type='StackedLinearClsHead', mid_channels=[8], norm_cfg=dict(type='BN1d'))
    cfg = config(images, tmp_path / 'a')
    cfg.model.head.update(head)
    weights = build_runner(cfg, 'test').model.state_dict()
    weights = {n: t for n, t in weights.items() if 'running_var' not in n}
    torch.save(weights, tmp_path / 'weights.pth')
    cfg = config(images, tmp_path / 'b', load_from=str(tmp_path / 'weights.pth'))
    cfg.model.head.update(head)
    runner = build_runner(cfg, 'test')
    with pytest.raises(CheckpointError, match=r'weights\.pth lacks head\..*running_var'):
        runner.test()


def test_a_checkpoint_that_is_resumed_has_the_state_of_each_optimizer():
    model = nn.Linear(2, 2)
    state = torch.optim.SGD(model.parameters(), lr=0.1).state_dict()
    kept = dict.fromkeys(('epoch', 'iter', 'log_scalars', 'runtime_info', 'resumed_keys'), 0)
    whole = dict(meta=kept, message_hub=kept, state_dict=model.state_dict())
    for optimizer in (state, dict(one=state, other=state)):
        _check_resumable(model, dict(whole, optimizer=optimizer), 'a.pth')
    for optimizer in (None, {}, dict(state={}), dict(one=state, other={})):
        with pytest.raises(CheckpointError, match='can be resumed, it has no optimizer'):
            _check_resumable(model, dict(whole, optimizer=optimizer), 'a.pth')
