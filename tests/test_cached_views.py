"""The benchmark of cached views: its sides differ in nothing else, and its arithmetic."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, TRANSFORMS, DefaultScope
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / 'benchmarks'))

import cached_views  # noqa: E402
from variants import Settings, write_lists  # noqa: E402

from beit_mm.datasets import CacheError, TokenCache  # noqa: E402
from beit_mm.engine import use_token_cache  # noqa: E402

pytest.importorskip('mmpretrain')

CONFIG = ROOT / 'configs/claims/cached_views.py'


@pytest.fixture(scope='module')
def settings(tmp_path_factory):
    root = tmp_path_factory.mktemp('photos')
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        for name in ('ant', 'bee'):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(4):
                pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f'{index}.png')
    return Settings(
        data=str(root),
        classes=2,
        labels=2,
        tokenizer_epochs=2,
        pretrain_epochs=20,
        finetune_epochs=20,
        finetune_lr=1e-3,
        batch_size=4,
        workers=0,
        width=32,
        depth=1,
    )


@pytest.fixture(scope='module')
def workspace(settings, tmp_path_factory):
    """Lists, and a tokenizer of random weights."""
    out = tmp_path_factory.mktemp('out')
    write_lists(settings, out, [0])
    generator = Config.fromfile(CONFIG).model.target_generator
    torch.manual_seed(0)
    torch.save(MODELS.build(generator.tokenizer).state_dict(), out / 'tokenizer.pth')
    return out


@pytest.fixture
def stages(settings, workspace, monkeypatch):
    """(folder, config, seed, options) of pre-training on fresh and on four cached views."""
    calls = []
    monkeypatch.setattr(
        cached_views,
        'run_stage',
        lambda name, config, out, seed, options: calls.append((name, config, seed, options)),
    )
    monkeypatch.setattr(
        cached_views, 'cache_tokens', lambda views, seed, *_: Path(f'/of/{views}/{seed}')
    )
    for views in (None, 4):
        cached_views.pretrain(views, 7, settings, workspace)
    return calls


def whole_config(options: dict) -> dict:
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict({key: str(v) if isinstance(v, Path) else v for key, v in options.items()})
    return cfg.to_dict()


def test_sides_differ_in_token_cache_alone(stages):
    (fresh_name, *fresh_run, fresh), (cached_name, *cached_run, cached) = stages
    assert (fresh_name, cached_name) == ('fresh/7/pretrain', 'cached-4/7/pretrain')
    assert fresh_run == cached_run == ['cached_views', 7]
    fresh, cached = whole_config(fresh), whole_config(cached)
    assert fresh.pop('token_cache') is None
    assert cached.pop('token_cache') == '/of/4/7'
    assert fresh == cached


def test_every_option_names_a_setting_of_the_config(stages):
    """An option that the config lacks would be added to it and change nothing."""
    new = {'train_dataloader.persistent_workers'} | {
        f'{loader}_dataloader.dataset.ann_file' for loader in ('train', 'val')
    }
    for *_, options in stages:
        before = Config.fromfile(CONFIG).to_dict()
        for key in set(options) - new:
            value = before
            for part in key.split('.'):
                value = value[int(part)] if isinstance(value, list) else value[part]


def test_views_are_drawn_as_in_the_claims():
    before, after = (
        Config.fromfile(ROOT / f'configs/claims/{name}.py').train_dataloader.dataset.pipeline
        for name in ('pretrain', 'cached_views')
    )
    assert before[-2:] == after[-2:], 'masks'
    flip, crop = before[-4], before[-3]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        views, crop = TRANSFORMS.build(after[0]), TRANSFORMS.build(crop)
    for name in ('sizes', 'scale', 'ratio', 'interpolations'):
        assert getattr(views, name) == getattr(crop, name)
    assert views.flip_prob == flip.p
    assert not views.jitter
    assert len(before) == 6, 'loading, flip, crop, mask and packing, and no colours'


def test_a_cache_holds_the_seeds_views_and_serves_the_run_of_the_same_weights(settings, workspace):
    folder = cached_views.cache_tokens(2, 3, settings, workspace)
    cache = TokenCache(folder)
    assert (cache.num_photos, cache.num_views) == (8, 2)
    assert cache.manifest['views']['seed'] == 3
    result = folder.parent / 'cache.json'
    # 2 views of 8 photos, 64 tokens of two bytes each; a header of 128 bytes.
    assert json.loads(result.read_text())['bytes'] == 8 * 2 * 64 * 2 + 128
    first = result.stat().st_mtime_ns
    assert cached_views.cache_tokens(2, 3, settings, workspace) == folder
    assert result.stat().st_mtime_ns == first, 'it is not computed again'

    options = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in cached_views.options(settings, workspace).items()
    }
    weights = []
    for extra in ({}, {'token_cache': str(folder)}):
        cfg = Config.fromfile(CONFIG)
        cfg.merge_from_dict({**options, **extra})
        use_token_cache(cfg)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            torch.manual_seed(0)
            model = MODELS.build(cfg.model)
            model.init_weights()
        weights.append({k: v for k, v in model.state_dict().items() if 'generator' not in k})
    assert cfg.model.target_generator.type == 'beit_mm.CachedTargetGenerator'
    torch.testing.assert_close(*weights, rtol=0, atol=0)

    other = Config.fromfile(CONFIG)
    other.merge_from_dict({**options, 'token_cache': str(folder)})
    other.train_dataloader.dataset.pipeline[0].flip_prob = 0.0
    with pytest.raises(CacheError, match='flip_prob'):
        use_token_cache(other)


def write_run(out, name, seed, top1, right=20.0):
    for stage, metrics in (
        ('pretrain', {'mim/acc': right}),
        ('finetune', {'accuracy/top1': top1}),
    ):
        folder = out / name / str(seed) / stage
        folder.mkdir(parents=True)
        report = dict(metrics=metrics, seconds=10.0, checkpoint='epoch_1.pth')
        (folder / 'result.json').write_text(json.dumps(report))


@pytest.fixture
def report(settings, tmp_path):
    """Three seeds of fresh views and of four; two of one."""
    for seed, (fresh, four) in enumerate([(40.0, 41.0), (44.0, 42.0), (45.0, 40.0)]):
        write_run(tmp_path, 'fresh', seed, fresh, 25.0 + seed)
        write_run(tmp_path, 'cached-4', seed, four)
    for seed, one in ((0, 38.0), (2, 39.0)):
        write_run(tmp_path, 'cached-1', seed, one)
    (tmp_path / 'tokenizers/dvae').mkdir(parents=True)
    (tmp_path / 'tokenizers/dvae/result.json').write_text(
        '{"metrics": {"tokenizer/codes_used": 9}}'
    )
    write_lists(settings, tmp_path, [0])
    return cached_views.summarize(settings, tmp_path, [4, 1])


def test_summary_agrees_with_a_plain_computation(report, settings):
    fresh, four, one = (report['top1'][name] for name in ('fresh', 'cached-4', 'cached-1'))
    for row, values in ((fresh, [40, 44, 45]), (four, [41, 42, 40]), (one, [38, 39])):
        assert row['mean'] == pytest.approx(np.mean(values))
        assert row['std'] == pytest.approx(np.std(values, ddof=1))
    assert four['difference'] == pytest.approx(np.mean([1, -2, -5]))
    # A sample's standard deviation over the root of its size.
    assert four['difference_error'] == pytest.approx(np.std([1, -2, -5], ddof=1) / 3**0.5)
    assert one['difference'] == pytest.approx(np.mean([38 - 40, 39 - 45])), 'seeds 0 and 2 alone'
    assert fresh['difference'] == 0
    assert (fresh['uses_of_a_view'], four['uses_of_a_view']) == (None, 5)
    assert (report['images'], report['validation_images']) == (8, 8)
    assert report['settings'] == {**asdict(settings), 'data': Path(settings.data).name}


def test_one_seed_has_no_spread():
    runs = {3: {'top1': 50.0}}
    row = cached_views.compare(runs, {3: {'top1': 52.0}})
    assert (row['mean'], row['difference']) == (50, -2)
    assert row['std'] is None
    assert row['difference_error'] is None
    assert cached_views.compare(runs, {})['difference'] is None


def test_table_has_a_row_a_side_and_says_how_far_it_can_be_trusted(report):
    text = cached_views.to_markdown(report)
    rows = [
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in text.splitlines()
        if line.startswith('|')
    ]
    assert rows[2:] == [
        ['a new one each time', '', '40.0, 44.0, 45.0', '43.0', '2.6', '', '26.0 %'],
        ['4', '5', '41.0, 42.0, 40.0', '41.0', '1.0', '-2.0 (1.7)', '20.0 %'],
        ['1', '20', '38.0, 39.0', '38.5', '0.7', '-4.0 (2.0)', '20.0 %'],
    ]
    # sqrt(0.43 * 0.57 / 8) = 0.175.
    assert 'standard error of 17.5 points' in text
