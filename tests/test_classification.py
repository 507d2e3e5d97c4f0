"""The classification recipes: pipelines, schedules, runs on made ImageNet folders, inference."""

import json
import os
import pickle
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, TRANSFORMS, DefaultScope
from mmengine.runner import CheckpointLoader
from PIL import Image
from torchvision.transforms import functional as F

from beit_mm.checkpoints import CheckpointError, convert_state_dict, load_state_dict
from beit_mm.engine import ConfigError, build_runner, check_config, read_safely, use_mixed_precision
from beit_mm.models import BEiT
from beit_mm.models.sizes import ARCHS

pytest.importorskip('mmpretrain')
ROOT = Path(__file__).parent.parent
ARCH = dict(embed_dims=24, num_layers=12, num_heads=2, feedforward_channels=48)
CLASSES = ('n01440764', 'n01443537', 'n01484850')

# From the paper and the released code: epochs, warm-up epochs, highest rate, decay a layer, weight
# decay, drop path, images a step, Mixup and CutMix, size, short edge at test.
RECIPES = dict(
    beit_finetune_imagenet=(100, 20, 4e-3, 0.65, 0.05, 0.1, 1024, True, 224, 256),
    beit_finetune_imagenet_384=(10, 1, 2e-5, 0.85, 1e-8, 0.1, 512, False, 384, 384),
    beit_large_finetune_imagenet=(50, 5, 1e-3, 0.75, 0.05, 0.2, 1024, True, 224, 256),
    beit_large_finetune_imagenet_384=(10, 1, 2e-5, 0.9, 1e-8, 0.4, 512, False, 384, 384),
    beit_finetune_from_intermediate=(30, 5, 2e-5, 0.85, 1e-8, 0.1, 512, False, 224, 256),
    beit_intermediate_finetune_imagenet22k=(90, 5, 3e-3, 0.65, 0.05, 0.2, 4096, False, 224, 256),
    beit_linear_probe=(50, 0, 4e-3, 1.0, 1e-4, 0.0, 1024, False, 224, 256),
    beit_partial_finetune=(100, 20, 4e-3, 0.65, 0.05, 0.1, 1024, True, 224, 256),
    deit_scratch_imagenet=(300, 5, 1e-3, 1.0, 0.05, 0.1, 1024, True, 224, 256),
    vit_scratch_imagenet=(300, 32, 3e-3, 1.0, 0.3, 0.0, 4096, False, 224, 256),
)
LOWEST_RATES = dict(beit_linear_probe=0.0, deit_scratch_imagenet=1e-5, vit_scratch_imagenet=0.0)


def load(name) -> Config:
    return Config.fromfile(ROOT / 'configs' / f'{name}.py')


def colours_of(name) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Means and standard deviations: ImageNet's, but those of ViT's release for ViT."""
    if name.startswith('vit'):
        return (0.5,) * 3, (0.5,) * 3
    return (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def steps_of(cfg, loader) -> list:
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return [TRANSFORMS.build(step) for step in cfg[f'{loader}_dataloader'].dataset.pipeline]


# ----------------------------------------------------------------------------------------------
# The input pipeline
# ----------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def photo(tmp_path_factory) -> Path:
    """900 x 700: a fine checkerboard, which aliases, beside ramps of colour."""
    y, x = np.mgrid[:700, :900]
    pixels = np.stack([x * 255 // 899, y * 255 // 699, 255 * ((x + y) % 2)], axis=-1)
    pixels[200:500, 200:700] = 255 * ((x + y) % 2)[200:500, 200:700, None]
    path = tmp_path_factory.mktemp('photo') / 'photo.png'
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def rgb(packed) -> np.ndarray:
    return packed['inputs'].numpy()[::-1].transpose(1, 2, 0)


@pytest.mark.parametrize('name', RECIPES)
def test_images_are_tested_as_pillow_and_torchvision_crop_them(name, photo):
    *_, size, edge = RECIPES[name]
    found = rgb(Compose(steps_of(load(name), 'test'))(dict(img_path=str(photo))))
    image = F.resize(Image.open(photo), edge, F.InterpolationMode.BICUBIC)
    expected = np.asarray(F.center_crop(image, size))
    np.testing.assert_array_equal(found, expected)
    assert found.shape == (size, size, 3)
    # The checkerboard is grey: without antialiasing its dots would be black and white.
    assert found[size // 2 - 30 : size // 2 + 30, size // 2 - 30 : size // 2 + 30].std() < 12


@pytest.mark.parametrize('name', RECIPES)
def test_training_crops_are_bicubic_and_antialiased(name, photo):
    size = RECIPES[name][-2]
    load_image, crop = steps_of(load(name), 'train')[:2]
    # ViT's authors crop down to 5 % of the area.
    least = 0.05 if name.startswith('vit_') else 0.08
    assert (crop.crop_ratio_range, crop.aspect_ratio_range) == ((least, 1.0), (3 / 4, 4 / 3))
    results = load_image(dict(img_path=str(photo)))
    np.random.seed(3)
    top, left, height, width = crop.rand_crop_params(results['img'])
    assert min(height, width) > size, 'a crop that is made smaller is what can alias'
    np.random.seed(3)
    found = crop(results)['img'][..., ::-1]
    box = (left, top, left + width, top + height)
    expected = Image.open(photo).crop(box).resize((size, size), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(found, np.asarray(expected))


@pytest.mark.parametrize('name', RECIPES)
def test_training_images_have_their_size_and_are_flipped_half_the_time(name, photo):
    steps, size = steps_of(load(name), 'train'), RECIPES[name][-2]
    flip = next(step for step in steps if type(step).__name__ == 'RandomFlip')
    np.random.seed(0)
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    flipped = [(flip(dict(img=image.copy()))['img'] != image).any() for _ in range(400)]
    # Four standard deviations of 400 coins.
    assert abs(np.mean(flipped) - 0.5) < 0.1
    packed = Compose(steps)(dict(img_path=str(photo)))
    assert packed['inputs'].shape == (3, size, size)


@pytest.mark.parametrize('name', [n for n in RECIPES if 'probe' not in n and 'vit' not in n])
def test_randaugment_is_timms(name):
    timm = pytest.importorskip('timm.data.auto_augment')
    augment = next(s for s in steps_of(load(name), 'train') if type(s).__name__ == 'RandAugment')
    theirs = timm.rand_augment_transform('rand-m9-mstd0.5-inc1', {})
    assert augment.num_policies == theirs.num_layers
    assert len(augment.transforms) == len(theirs.ops)
    for ours, op in zip(augment.transforms, theirs.ops, strict=True):
        assert op.name.lower().startswith(type(ours).__name__.lower().removesuffix('transform')[:5])
        assert ours.prob == op.prob
        if ours.magnitude_range is not None:
            assert (ours.magnitude_level, ours.total_level) == (op.magnitude, 10)
            assert ours.magnitude_std == op.magnitude_std


def test_erasing_fills_a_quarter_of_the_images_with_imagenets_noise():
    step = next(
        s for s in steps_of(load('beit_finetune_imagenet'), 'train')
        if type(s).__name__ == 'RandomErasing'
    )  # fmt: skip
    np.random.seed(0)
    noise, areas = [], []
    for _ in range(600):
        # No noise has this value in all three channels but by chance.
        image = step(dict(img=np.full((96, 96, 3), 7, np.uint8)))['img']
        erased = (image != 7).any(axis=-1)
        if erased.any():
            noise.append(image[erased])
            areas.append(erased.mean())
    assert len(areas) / 600 == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / 600) ** 0.5)
    assert 0.02 * 0.9 < min(areas) < 0.06
    assert 0.25 < max(areas) <= 1 / 3 * 1.05
    # In OpenCV's order; what a byte cannot hold is cut off, which moves both a little.
    pixels = np.concatenate(noise).astype(float)
    np.testing.assert_allclose(pixels.mean(axis=0), [103.53, 116.28, 123.675], atol=3)
    np.testing.assert_allclose(pixels.std(axis=0), [57.375, 57.12, 58.395], atol=4)


@pytest.mark.parametrize('name', RECIPES)
def test_colours_are_normalised_as_the_public_weights_take_them(name):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        preprocess = MODELS.build(
            dict(type='ClsDataPreprocessor', **load(name).model.data_preprocessor)
        )
    blue_green_red = torch.tensor([10, 100, 200], dtype=torch.uint8).view(3, 1, 1)
    found = preprocess(dict(inputs=[blue_green_red]))['inputs'].flatten().tolist()
    means, stds = colours_of(name)
    expected = [(v / 255 - m) / s for v, m, s in zip((200, 100, 10), means, stds, strict=True)]
    assert found == pytest.approx(expected, rel=1e-5)


# ----------------------------------------------------------------------------------------------
# Rates, decays, batches
# ----------------------------------------------------------------------------------------------


def small(cfg) -> None:
    """A narrow network, from random weights, of as many blocks as the recipe's smallest has."""
    arch = cfg.model.backbone.arch
    assert cfg.model.head.in_channels == ARCHS[arch]['embed_dims']
    cfg.model.backbone.update(arch=ARCH, init_cfg=None)
    cfg.model.head.in_channels = 24
    cfg.load_from = None


@pytest.mark.parametrize('name', RECIPES)
def test_rates_follow_the_recipe(name):
    epochs, warmup, highest, layer_decay, *_ = RECIPES[name]
    cfg = load(name)
    small(cfg)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model)
        optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    assert cfg.train_cfg.max_epochs == epochs
    schedulers = []
    for scheduler in cfg.param_scheduler:
        assert scheduler.pop('convert_to_iter_based')
        cls = PARAM_SCHEDULERS.get(scheduler.pop('type'))
        schedulers.append(cls.build_iter_from_epoch(optim_wrapper, epoch_length=10, **scheduler))
    groups = optim_wrapper.optimizer.param_groups
    rates = []
    for _ in range(epochs * 10):
        rates.append([group['lr'] for group in groups])
        for scheduler in schedulers:
            scheduler.step()
    rates = np.array(rates)
    head, stem = rates[:, -1], rates[:, 0]
    assert np.argmax(head) == pytest.approx(warmup * 10, abs=1)
    assert head.max() == pytest.approx(highest, rel=1e-6)
    lowest = LOWEST_RATES.get(name, 1e-6)
    assert head[-1] == pytest.approx(lowest, rel=0.05, abs=highest * 1e-4)
    middle = (warmup * 10 + epochs * 10) // 2
    assert head[middle] == pytest.approx((highest + lowest) / 2, rel=0.02)
    # Each depth's rate is the same part of the head's at all times (released code).
    ratio = 1.0 if cfg.model.backbone.get('frozen_stages') else layer_decay ** (12 + 1)
    if 'frozen_stages' in cfg.model.backbone and layer_decay < 1:
        ratio = layer_decay ** (12 - cfg.model.backbone.frozen_stages)
    np.testing.assert_allclose(stem, head * ratio, rtol=1e-4)


@pytest.mark.parametrize('name', RECIPES)
def test_batches_and_regularisation_follow_the_recipe(name):
    _, _, _, _, weight_decay, drop_path, batch, mixed, size, _ = RECIPES[name]
    cfg = load(name)
    assert [hook.global_batch_size for hook in cfg.custom_hooks] == [batch]
    assert batch % cfg.train_dataloader.batch_size == 0
    assert cfg.optim_wrapper.optimizer.weight_decay == weight_decay
    assert cfg.model.backbone.get('drop_path_rate', 0.0) == drop_path
    assert cfg.model.backbone.img_size == size
    augments = [(a.type, a.alpha) for a in (cfg.model.train_cfg or {}).get('augments', [])]
    assert augments == ([('Mixup', 0.8), ('CutMix', 1.0)] if mixed else [])
    large = 'large' in name
    assert cfg.model.backbone.arch == ('large' if large else 'base')
    scale = 0.0 if name.startswith('vit') else 1e-5 if large else 0.1
    assert cfg.model.backbone.get('layer_scale_init_value', 0.0) == scale
    smooth = 0.0 if name in ('beit_linear_probe', 'vit_scratch_imagenet') else 0.1
    assert cfg.model.head.loss.get('label_smooth_val', 0.0) == smooth
    clip = dict(beit_intermediate_finetune_imagenet22k=3.0, vit_scratch_imagenet=1.0)
    assert (cfg.optim_wrapper.get('clip_grad') or {}).get('max_norm') == clip.get(name)


# ----------------------------------------------------------------------------------------------
# Runs
# ----------------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def folders(tmp_path_factory) -> dict[str, Path]:
    """The same twelve pictures in ImageNet's two layouts."""
    root = tmp_path_factory.mktemp('imagenet')
    rng = np.random.default_rng(0)
    layouts = dict(folders=root / 'folders', meta=root / 'meta')
    (layouts['meta'] / 'meta').mkdir(parents=True)
    for split in ('train', 'val'):
        lines = []
        for label, name in enumerate(CLASSES):
            for index in range(2):
                size = (*rng.integers(40, 80, 2), 3)
                image = Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8))
                for path in (
                    layouts['folders'] / split / name / f'{name}_{index}.JPEG',
                    layouts['meta'] / split / f'{name}_{index}.JPEG',
                ):
                    path.parent.mkdir(parents=True, exist_ok=True)
                    image.save(path)
                lines.append(f'{name}_{index}.JPEG {label}\n')
        (layouts['meta'] / 'meta' / f'{split}.txt').write_text(''.join(lines))
    return layouts


@pytest.fixture(autouse=True)
def mmengines_own_loaders(monkeypatch):
    """Undo the registration of loaders, which would leak into other tests."""
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))


def short_run(name, root, work_dir) -> Config:
    """Three steps of two pictures."""
    cfg = load(name)
    small(cfg)
    cfg.update(launcher='none', work_dir=str(work_dir), experiment_name=f'{name}-{work_dir.name}')
    cfg.train_cfg.max_epochs = 1
    cfg.default_hooks.logger.interval = 1
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if cfg.get(loader):
            cfg[loader].update(batch_size=2, num_workers=0, persistent_workers=False)
            cfg[loader].dataset.data_root = str(root)
    return cfg


def scores_of(checkpoint, cfg, root) -> dict[str, torch.Tensor]:
    """File name -> probabilities, without datasets, Runner or metric."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model).eval()
    model.load_state_dict(load_state_dict(checkpoint))
    size, edge = RECIPES[Path(cfg.filename).stem][-2:]
    found = {}
    for path in sorted((root / 'val').glob('*/*')):
        image = F.resize(Image.open(path), edge, F.InterpolationMode.BICUBIC)
        pixels = F.to_tensor(F.center_crop(image, size))
        pixels = F.normalize(pixels, *colours_of(Path(cfg.filename).stem))
        with torch.no_grad():
            found[path.name] = model.head(model.backbone(pixels[None]))[0].softmax(0)
    return found


@pytest.mark.parametrize('name', RECIPES)
def test_recipe_trains_and_tests_on_both_layouts(name, folders, tmp_path):
    """Trained on class folders, tested on a list of files; every second one in mixed precision."""
    cfg = short_run(name, folders['folders'], tmp_path)
    cfg.val_dataloader = cfg.val_evaluator = cfg.val_cfg = None
    cfg.test_dataloader.dataset.data_root = str(folders['meta'])
    if list(RECIPES).index(name) % 2:
        use_mixed_precision(cfg)
    runner = build_runner(cfg, 'train')
    before = {n: p.detach().clone() for n, p in runner.model.named_parameters()}
    runner.train()
    moved = {n for n, p in runner.model.named_parameters() if not torch.equal(p, before[n])}
    if name == 'beit_linear_probe':
        assert moved == {'head.fc.weight', 'head.fc.bias'}
    elif name == 'beit_partial_finetune':
        blocks = {n.split('.')[2] for n in moved if n.startswith('backbone.blocks')}
        assert blocks == {'8', '9', '10', '11'}
        assert 'head.fc.weight' in moved
        assert not any('patch_embed' in n or 'cls_token' in n for n in moved)
    else:
        # ViT's has a layer before.
        assert moved & {'head.fc.weight', 'head.layers.head.weight'}

    metrics = runner.test()
    expected = scores_of(
        tmp_path / 'epoch_1.pth', short_run(name, '', tmp_path), folders['folders']
    )
    right = [
        (scores.topk(5).indices == CLASSES.index(file[:9])).tolist()
        for file, scores in expected.items()
    ]
    assert metrics['accuracy/top1'] == pytest.approx(100 * np.mean([row[0] for row in right]))
    assert metrics['accuracy/top5'] == pytest.approx(100 * np.mean([any(row) for row in right]))


def test_linear_probe_sees_the_mean_of_the_ninth_blocks_patches():
    cfg = load('beit_linear_probe')
    small(cfg)
    probe = MODELS.build(cfg.model.backbone).train()
    blocks = BEiT(ARCH, out_type='raw', out_indices=range(12)).eval()
    blocks.load_state_dict(probe.state_dict(), strict=False)
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    (features,) = probe(images)
    with torch.no_grad():
        every = [raw[:, 1:].mean(dim=1) for raw in blocks(images)]
    normalised = [torch.nn.functional.layer_norm(mean, (24,), eps=1e-6) for mean in every]
    torch.testing.assert_close(features, normalised[8])
    assert (features - normalised[7]).abs().max() > 1e-4
    assert not features.requires_grad


@pytest.fixture(scope='module')
def trained(folders, tmp_path_factory) -> tuple[Config, Path]:
    """A config and a checkpoint whose classifier tells images apart, as a run writes it."""
    work_dir = tmp_path_factory.mktemp('trained')
    cfg = short_run('beit_finetune_imagenet', folders['folders'], work_dir)
    cfg.model.head.num_classes = 5
    cfg.model.head.init_cfg = dict(type='Normal', layer='Linear', std=1.0)
    cfg.model.data_preprocessor.num_classes = 5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
        build_runner(cfg, 'train').train()
    # Runner writes the config beside its checkpoints.
    return Config.fromfile(work_dir / 'beit_finetune_imagenet.py'), work_dir / 'epoch_1.pth'


def test_predictions_are_saved_for_every_image(trained, folders, tmp_path, monkeypatch, capsys):
    """By the command line: what is written is what the model says, and what was counted."""
    cfg, checkpoint = trained
    out, predictions = tmp_path / 'metrics.json', tmp_path / 'predictions.pkl'
    command = ['test.py', cfg.filename, str(checkpoint), '--work-dir', str(tmp_path / 'run')]
    command += ['--out', str(out), '--predictions', str(predictions)]
    monkeypatch.setattr(sys, 'argv', command)
    runpy.run_path(str(ROOT / 'tools/test.py'), run_name='__main__')

    expected = scores_of(checkpoint, cfg, folders['folders'])
    rows = pickle.loads(predictions.read_bytes())
    assert {Path(row['img_path']).name for row in rows} == set(expected)
    right = []
    for row in rows:
        scores = expected[Path(row['img_path']).name]
        torch.testing.assert_close(row['pred_score'], scores, atol=1e-5, rtol=1e-4)
        right.append(int(row['pred_label']) == int(row['gt_label']))
    assert json.loads(out.read_text())['accuracy/top1'] == pytest.approx(100 * np.mean(right))

    monkeypatch.setattr(sys, 'argv', [*command[:-1], 'predictions.json'])
    with pytest.raises(SystemExit):
        runpy.run_path(str(ROOT / 'tools/test.py'), run_name='__main__')
    assert 'predictions.json must end in .pkl' in capsys.readouterr().err


def test_mmpretrains_inferencer_classifies(trained, folders):
    from mmpretrain import ImageClassificationInferencer

    cfg, checkpoint = trained
    expected = scores_of(checkpoint, cfg, folders['folders'])
    images = [path for path in (folders['folders'] / 'val').glob('*/*') if path.name in expected]
    names = 'abcde'
    infer = ImageClassificationInferencer(
        cfg.filename, pretrained=str(checkpoint), device='cpu', classes=tuple(names)
    )
    results = infer([str(image) for image in images], batch_size=2)
    for image, result in zip(images, results, strict=True):
        scores = torch.as_tensor(result['pred_scores'])
        torch.testing.assert_close(scores, expected[image.name], atol=1e-5, rtol=1e-4)
        assert result['pred_label'] == int(expected[image.name].argmax())
        assert result['pred_class'] == names[result['pred_label']]


def test_get_model_gives_the_classifier_and_its_features(trained):
    from mmpretrain import get_model

    cfg, checkpoint = trained
    model = get_model(cfg.filename, pretrained=str(checkpoint))
    weights = load_state_dict(checkpoint)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, weights[name]), name
    assert model.extract_feat(torch.rand(2, 3, 224, 224))[0].shape == (2, 24)


def test_converted_classifiers_of_other_libraries_are_taken(trained, tmp_path, monkeypatch):
    from mmpretrain import get_model

    cfg, checkpoint = trained
    weights = load_state_dict(checkpoint)
    torch.save(convert_state_dict(weights, to='timm'), tmp_path / 'timm.pth')
    source, target = str(tmp_path / 'timm.pth'), str(tmp_path / 'beit.pth')
    monkeypatch.setattr(sys, 'argv', ['convert_checkpoint.py', source, target, '--to', 'beit_mm'])
    runpy.run_path(str(ROOT / 'tools/convert_checkpoint.py'), run_name='__main__')
    model = get_model(cfg.filename, pretrained=target)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, weights[name]), name


class Intruder:
    """What a hostile pickle asks for."""

    def __reduce__(self):
        return os.mkdir, ('intruded',)


def test_after_read_safely_inference_runs_no_code_of_a_checkpoint(trained, tmp_path, monkeypatch):
    from mmpretrain import get_model

    cfg, checkpoint = trained
    monkeypatch.chdir(tmp_path)
    weights = load_state_dict(checkpoint)
    torch.save(dict(state_dict=dict(weights), meta=Intruder()), 'hostile.pth')
    read_safely()
    with pytest.raises(CheckpointError, match='mkdir'):
        get_model(cfg.filename, pretrained='hostile.pth')
    assert not Path('intruded').exists()
    model = get_model(cfg.filename, pretrained=str(checkpoint))
    assert torch.equal(model.head.fc.weight, weights['head.fc.weight'])
    assert model._dataset_meta['classes'] == CLASSES


def test_two_processes_train_in_mixed_precision(folders, tmp_path):
    """tools/dist_train.sh, as a user types it."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        port = listener.getsockname()[1]
    root = folders['meta']
    options = [
        f'{loader}_dataloader.{key}'
        for loader in ('train', 'val')
        for key in (
            f'dataset.data_root={root}', 'batch_size=1', 'num_workers=0', 'persistent_workers=False'
        )
    ]  # fmt: skip
    options += [
        'train_cfg.max_epochs=1',
        'default_hooks.logger.interval=1',
        'model.backbone.arch=tiny',
    ]
    options += ['model.head.in_channels=192', 'model.backbone.init_cfg=None']
    result = subprocess.run(
        [ROOT / 'tools/dist_train.sh', ROOT / 'configs/beit_finetune_imagenet.py', '2', '--amp',
         '--work-dir', 'run', '--cfg-options', *options],
        env={**os.environ, 'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
             'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '', 'PORT': str(port)},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    text = next((tmp_path / 'run').glob('*/vis_data/scalars.json')).read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    # Six pictures, one a process: three steps.
    assert [row['step'] for row in rows if 'loss' in row] == [1, 2, 3]
    assert all(
        row['loss'] == pytest.approx(np.log(1000), abs=0.05) for row in rows if 'loss' in row
    )
    assert 'accuracy/top1' in rows[-1]
    assert 'Global batch 1024 = 2 process(es) x 1 images x 512' in result.stdout + result.stderr


def test_numbers_of_classes_that_differ_are_refused_where_labels_are_mixed(folders, tmp_path):
    cfg = short_run('beit_finetune_imagenet', folders['folders'], tmp_path)
    cfg.model.head.num_classes = 3
    with pytest.raises(ConfigError, match=r'data_preprocessor.num_classes is 1000.*num_classes, 3'):
        check_config(cfg, 'train')
    cfg.model.train_cfg = None
    with pytest.raises(ConfigError, match=r'^val_evaluator.topk is \(1, 5\); there are 3 classes'):
        check_config(cfg, 'train')
    cfg.val_evaluator.topk = cfg.test_evaluator.topk = 1
    check_config(cfg, 'train')


def test_a_split_without_a_folder_is_refused_by_name(folders, tmp_path):
    cfg = short_run('beit_finetune_imagenet', tmp_path, tmp_path)
    with pytest.raises(
        ConfigError, match=rf"train_dataloader.*is '{tmp_path}/train'.*no such folder"
    ):
        check_config(cfg, 'train')


def test_weights_to_start_from_that_are_not_there_are_refused_by_name(folders, tmp_path):
    cfg = short_run('beit_finetune_imagenet_384', folders['folders'], tmp_path)
    cfg.load_from = load('beit_finetune_imagenet_384').load_from
    with pytest.raises(
        ConfigError, match=r'load_from: work_dirs/beit_finetune_imagenet/epoch_100.*no such check'
    ):
        build_runner(cfg, 'train')
