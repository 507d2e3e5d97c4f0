"""From photos to a token cache to training steps that never run the tokenizer."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.runner import Runner, set_random_seed
from PIL import Image

from beit_mm.datasets import CacheError, LoadTwoViews, TokenCache
from beit_mm.engine import ConfigError, measure_ranges, use_token_cache, write_token_cache
from beit_mm.engine.caching.write_tokens import own_device
from beit_mm.models import CachedTargetGenerator, DiscreteVAE, DVAETargetGenerator

TOKENIZER = dict(vocab_size=50, hidden=8, num_groups=3, blocks_per_group=1)
PHOTOS, VIEWS = 7, 3


@pytest.fixture
def workspace(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(PHOTOS):
        folder = tmp_path / 'train' / 'ab'[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        small.resize((60 + index, 50), Image.Resampling.BICUBIC).save(folder / f'{index}.jpg')
    torch.manual_seed(0)
    torch.save(DiscreteVAE(**TOKENIZER).state_dict(), tmp_path / 'tokenizer.pth')
    return tmp_path


def make_config(root) -> Config:
    return Config(
        dict(
            default_scope='mmpretrain',
            custom_imports=dict(imports=['beit_mm'], allow_failed_imports=False),
            work_dir=str(root / 'run'),
            model=dict(
                type='beit_mm.MaskedImageModeling',
                backbone=dict(
                    type='beit_mm.BEiT', img_size=32, patch_size=8, out_type='raw',
                    with_mask_token=True,
                    arch=dict(embed_dims=24, num_layers=1, num_heads=2, feedforward_channels=48),
                ),
                target_generator=dict(
                    type='beit_mm.DVAETargetGenerator',
                    tokenizer=dict(type='beit_mm.DiscreteVAE', **TOKENIZER),
                    checkpoint=str(root / 'tokenizer.pth'),
                ),
                head=dict(type='beit_mm.MIMHead', embed_dims=24, vocab_size=50),
                data_preprocessor=dict(
                    type='beit_mm.TwoViewDataPreprocessor', mean=[127.5] * 3, std=[127.5] * 3,
                    second_mean=[0.0] * 3, second_std=[255.0] * 3,
                ),
            ),
            train_dataloader=dict(
                batch_size=4,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=True),
                collate_fn=dict(type='default_collate'),
                dataset=dict(
                    type='CustomDataset', data_root=str(root), data_prefix='train',
                    with_label=False,
                    pipeline=[
                        dict(type='beit_mm.LoadTwoViews', size=32, second_size=16),
                        dict(type='beit_mm.BlockwiseMaskGenerator', grid_size=(4, 4),
                             num_masked=6, min_block=2),
                        dict(type='PackInputs'),
                    ],
                ),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=2),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        )
    )  # fmt: skip


@pytest.fixture
def cached(workspace):
    write_token_cache(make_config(workspace), workspace / 'tokens', VIEWS, 5, photos_per_shard=3)
    cfg = make_config(workspace)
    cfg.token_cache = str(workspace / 'tokens')
    return cfg


def test_cached_tokens_are_those_computed_at_once_bit_for_bit(workspace, cached):
    cfg = make_config(workspace)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        dataset = DATASETS.build({**cfg.train_dataloader.dataset, 'pipeline': []})
    preprocessor = MODELS.build(cfg.model.data_preprocessor)
    generator = MODELS.build(cfg.model.target_generator)
    cache = TokenCache(cached.token_cache)
    transform = LoadTwoViews(size=32, second_size=16, num_views=VIEWS, seed=5)
    found = set()
    for draw in range(100):
        np.random.seed(draw)
        info = dataset.get_data_info(draw % PHOTOS)
        results = transform(dict(info))
        data = preprocessor(dict(inputs=[view[None] for view in results['img']]))
        tokens = generator(data['inputs'][1])[0]
        photo, view = results['sample_idx'], results['view_idx']
        np.testing.assert_array_equal(cache.read(photo, view), tokens.numpy())
        found.add((photo, view))
    assert found == {(i, k) for i in range(PHOTOS) for k in range(VIEWS)}
    everything = np.stack([cache.read(*key) for key in sorted(found)])
    assert len(np.unique(everything)) > 5, 'tokens that are all alike show nothing'
    assert len(np.unique(everything.reshape(len(found), -1), axis=0)) == len(found)


def test_first_view_of_a_cached_sample_is_that_of_its_tokens(workspace, cached):
    path = str(next((workspace / 'train').glob('*/*.jpg')))
    plain = LoadTwoViews(size=32, second_size=16, num_views=VIEWS, seed=5)
    with_tokens = LoadTwoViews(size=32, second_size=16, token_cache=cached.token_cache)
    for draw in range(6):
        samples = []
        for transform in (plain, with_tokens):
            np.random.seed(draw)
            samples.append(transform(dict(img_path=path, sample_idx=2)))
        assert samples[0]['view_idx'] == samples[1]['view_idx']
        assert torch.equal(samples[0]['img'][0], samples[1]['img'][0])
        tokens = samples[1]['img'][1]
        assert tokens.dtype == torch.int64
        expected = with_tokens.cache.read(2, samples[1]['view_idx'])
        np.testing.assert_array_equal(tokens.numpy(), expected)


def forbid(monkeypatch, what):
    def fail(*_):
        raise AssertionError('the tokenizer ran')

    monkeypatch.setattr(what, 'forward', fail)


def test_training_on_a_cache_never_runs_the_tokenizer(cached, monkeypatch):
    use_token_cache(cached)
    forbid(monkeypatch, DVAETargetGenerator)
    runner = Runner.from_cfg(cached)
    model = runner.train()
    assert runner.iter == 4
    assert not any('tokenizer' in name for name in model.state_dict())


def test_loss_is_that_of_the_tokens_computed_at_once(workspace, cached):
    """The same weights, views and masks, with and without the cache."""
    losses = []
    use_token_cache(cached)
    fresh = make_config(workspace)
    fresh.train_dataloader.dataset.pipeline[0].update(num_views=VIEWS, seed=5)
    for cfg in (cached, fresh):
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            torch.manual_seed(1)
            backbone, head = MODELS.build(cfg.model.backbone), MODELS.build(cfg.model.head)
            model = MODELS.build(cfg.model)
            model.backbone.load_state_dict(backbone.state_dict())
            model.head.load_state_dict(head.state_dict())
            dataset = DATASETS.build(cfg.train_dataloader.dataset)
            set_random_seed(3)
            batch = default_collate([dataset[index] for index in range(PHOTOS)])
            data = model.data_preprocessor(batch)
            losses.append(model.eval()(**data, mode='loss')['loss'])
    assert torch.equal(*losses)


def test_validation_still_computes_tokens(workspace, cached):
    cached.val_dataloader = cached.train_dataloader
    use_token_cache(cached)
    generator = MODELS.build(cached.model.target_generator)
    images = torch.rand(2, 3, 16, 16)
    expected = MODELS.build(make_config(workspace).model.target_generator)(images)
    assert torch.equal(generator(images), expected)
    alone = CachedTargetGenerator(50)
    assert alone(expected) is expected
    with pytest.raises(ValueError, match='token_cache'):
        alone(images)


def test_processes_share_the_work_and_a_stopped_one_is_made_up_for(workspace, cached, monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '2')
    folder = workspace / 'shared'
    for rank in (1, 0):
        monkeypatch.setenv('RANK', str(rank))
        cache = write_token_cache(make_config(workspace), folder, VIEWS, 5, photos_per_shard=3)
        assert cache.missing() == ([0, 2] if rank else [])
    monkeypatch.delenv('WORLD_SIZE')
    monkeypatch.delenv('RANK')
    first = (folder / 'tokens_00000.npy').read_bytes()
    (folder / 'tokens_00001.npy').unlink()
    (folder / 'tokens_00000.npy').touch()
    write_token_cache(make_config(workspace), folder, VIEWS, 5, photos_per_shard=3)
    for path in sorted((workspace / 'tokens').iterdir()):
        assert (folder / path.name).read_bytes() == path.read_bytes()
    assert (folder / 'tokens_00000.npy').read_bytes() == first


def change_views(cfg, root):
    cfg.train_dataloader.dataset.pipeline[0].scale = (0.5, 1.0)


def change_weights(cfg, root):
    torch.manual_seed(1)
    torch.save(DiscreteVAE(**TOKENIZER).state_dict(), root / 'tokenizer.pth')


def change_norm(cfg, root):
    cfg.model.data_preprocessor.second_std = [127.5] * 3


def change_photo(cfg, root):
    with open(next((root / 'train').glob('*/*.jpg')), 'ab') as file:
        file.write(b'x')


def add_photo(cfg, root):
    Image.new('RGB', (9, 9)).save(root / 'train/a/new.jpg')


def leave_out_shard(cfg, root):
    (root / 'tokens/tokens_00001.npy').unlink()


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (change_views, 'views.scale: .*0.5.*0.08'),
        (change_weights, 'tokenizer.weights'),
        (change_norm, 'tokenizer.std: .*127.5.*255'),
        (change_photo, 'dataset.names_and_sizes'),
        (add_photo, 'dataset.photos: 8 here, 7 in the cache'),
        (leave_out_shard, r'tokens_00001\.npy is missing'),
    ],
)
def test_training_on_a_cache_of_something_else_says_what_differs(
    workspace, cached, change, words
):  # fmt: skip
    def train():
        use_token_cache(cached)
        Runner.from_cfg(cached).train()

    change(cached, workspace)
    with pytest.raises(CacheError, match=words):
        train()


@pytest.mark.parametrize(
    'change',
    [
        dict(precision='float32'),
        dict(compile=True),
        dict(tokenizer=dict(with_decoder=True)),
        dict(tokenizer=dict(decoder_input=16)),
    ],
)
def test_settings_that_leave_the_tokens_alone_are_no_other_tokenizer(workspace, cached, change):
    cached.merge_from_dict(dict(model=dict(target_generator=change)))
    use_token_cache(cached)
    assert cached.model.target_generator.type == 'beit_mm.CachedTargetGenerator'


@pytest.mark.parametrize(('rank', 'gpus', 'device'), [(3, 8, 3), (3, 1, 0), (None, 2, 0)])
def test_each_process_computes_on_a_gpu_that_it_sees(monkeypatch, rank, gpus, device):
    monkeypatch.delenv('LOCAL_RANK', raising=False)
    if rank is not None:
        monkeypatch.setenv('LOCAL_RANK', str(rank))
    assert own_device() == 'cpu' or torch.cuda.is_available()
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: gpus)
    assert own_device() == f'cuda:{device}'


def test_a_photo_that_cannot_be_decoded_is_named_with_what_to_do(workspace):
    (workspace / 'train/a/0.jpg').write_bytes(b'text')
    with pytest.raises(ValueError, match=r'0\.jpg cannot be decoded: .*check_images'):
        write_token_cache(make_config(workspace), workspace / 'tokens', VIEWS)


def test_config_that_no_cache_can_serve_says_why(workspace, cached):
    cfg = make_config(workspace)
    cfg.model.target_generator.checkpoint = None
    with pytest.raises(ConfigError, match=r'target_generator\.checkpoint'):
        write_token_cache(cfg, workspace / 'other', VIEWS)
    cfg = make_config(workspace)
    cfg.model.data_preprocessor.type = 'TwoNormDataPreprocessor'
    with pytest.raises(ConfigError, match=r"TwoNormDataPreprocessor.*'beit_mm\.TwoView"):
        write_token_cache(cfg, workspace / 'other', VIEWS)
    cfg = make_config(workspace)
    cfg.train_dataloader.dataset.pipeline.pop(0)
    cfg.token_cache = cached.token_cache
    for use in (use_token_cache, lambda c: write_token_cache(c, workspace / 'other', VIEWS)):
        with pytest.raises(ConfigError, match='LoadTwoViews'):
            use(cfg)


def test_config_without_the_key_stays_as_it_is(workspace):
    cfg = make_config(workspace)
    use_token_cache(cfg)
    assert cfg.to_dict() == make_config(workspace).to_dict()


def test_deep_images_of_one_band_are_cached_by_the_range_that_a_run_measures(workspace):
    rng = np.random.default_rng(1)
    for path in [*(workspace / 'train').rglob('*.jpg')]:
        path.unlink()
        deep = rng.integers(100, 4000, (50, 60)).astype(np.uint16)
        Image.fromarray(deep).save(path.with_suffix('.png'))
    tokenizer = dict(TOKENIZER, in_channels=1)
    torch.save(DiscreteVAE(**tokenizer).state_dict(), workspace / 'tokenizer.pth')

    def config() -> Config:
        cfg = make_config(workspace)
        cfg.model.backbone.in_channels = 1
        cfg.model.target_generator.tokenizer.in_channels = 1
        cfg.model.data_preprocessor.update(mean=[127.5], std=[127.5])
        cfg.model.data_preprocessor.update(second_mean=[0.0], second_std=[255.0])
        cfg.train_dataloader.dataset.pipeline[0].update(bands=1, value_range='measured')
        return cfg

    cfg = config()
    assert 'measured on 7 images' in measure_ranges(cfg, 'cache')
    assert not (workspace / 'run').exists()
    cache = write_token_cache(cfg, workspace / 'tokens', num_views=VIEWS)
    load = LoadTwoViews(**{k: v for k, v in cfg.train_dataloader.dataset.pipeline[0].items()
                           if k != 'type'})  # fmt: skip
    path = sorted((workspace / 'train').rglob('*.png'))[3]
    second = load.load(path.read_bytes(), load.view_rng(3, 1))[0][1]
    assert second.std() > 10
    reader = DiscreteVAE(**tokenizer)
    reader.load_state_dict(torch.load(workspace / 'tokenizer.pth'))
    assert np.array_equal(cache.read(3, 1), reader.tokenize(second[None] / 255)[0])

    cfg = config()
    cfg.token_cache = str(workspace / 'tokens')
    measure_ranges(cfg, 'train')
    use_token_cache(cfg)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        sample = DATASETS.build(cfg.train_dataloader.dataset)[3]
    view, found = sample['inputs']
    assert view.shape == (1, 32, 32)
    assert any(np.array_equal(found, cache.read(3, view)) for view in range(VIEWS))
    # Another range makes other views.
    other = config()
    other.token_cache = str(workspace / 'tokens')
    other.train_dataloader.dataset.pipeline[0].value_range = (0, 65535)
    with pytest.raises(CacheError, match='value_range'):
        use_token_cache(other)


def test_a_cache_from_before_there_were_windows_holds_crops_of_whole_images(workspace, cached):
    """Its tokens are of these, so the first view has to be too, whatever the image's size."""
    folder = workspace / 'tokens'
    step = dict(cached.train_dataloader.dataset.pipeline[0], token_cache=str(folder))
    del step['type']
    size = (3, 20_000)
    new = LoadTwoViews(**step)
    assert all(new.draw(new.view_rng(0, k), size).box.width <= 8192 for k in range(20))
    path = folder / 'manifest.json'
    manifest = json.loads(path.read_text())
    assert manifest['views'].pop('window') == 8192
    path.write_text(json.dumps(manifest))
    old = LoadTwoViews(**step)
    whole = LoadTwoViews(32, 16, window=10**9)
    for view in range(20):
        assert old.draw(old.view_rng(0, view), size) == whole.draw(old.view_rng(0, view), size)
    # Who asks for another window is told that it is another cache.
    with pytest.raises(CacheError, match='window'):
        LoadTwoViews(**step, window=1000)
