"""Every segmentation config trains and tests on a made data set; the recipes are the papers'."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, DefaultScope
from mmseg.apis import MMSegInferencer
from mmseg.registry import DATASETS, METRICS, MODELS
from mmseg.structures import SegDataSample
from PIL import Image

from beit_mm.engine import ConfigError, check_config
from beit_mm.models import BEiT, VisionTransformer
from beit_mm.models.sizes import ARCHS

ROOT = Path(__file__).parent.parent
ADE20K = [
    'beit_segment_ade20k',
    'beit_segment_ade20k_from_intermediate',
    'beit_upernet_ade20k',
    'beit_upernet_ade20k_640',
    'beit_large_upernet_ade20k_640',
    'mae_upernet_ade20k',
    'mae_large_upernet_ade20k',
]
EVERY = [*ADE20K, 'camvid/finetune', 'camvid/scratch']
WIDTH, DEPTH = 24, 4


def make_folders(root: Path, num_classes: int, sizes=((150, 200), (120, 90))) -> Path:
    """ADE20K's layout: photos of noise whose annotations have all labels in turn, 0 too."""
    rng = np.random.default_rng(0)
    for split in ('training', 'validation'):
        for kind in ('images', 'annotations'):
            (root / kind / split).mkdir(parents=True)
        for index, (height, width) in enumerate(sizes):
            photo = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(photo).save(root / f'images/{split}/{index}.jpg')
            # Blocks of 10 x 10, which survive resizing and the limit on one class in a crop.
            rows, columns = np.arange(height) // 10, np.arange(width) // 10
            labels = (rows[:, None] * 20 + columns + 75 * index) % (num_classes + 1)
            Image.fromarray(labels.astype(np.uint8)).save(root / f'annotations/{split}/{index}.png')
    return root


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    """A data set of 150 classes and one of 11."""
    return {n: make_folders(tmp_path_factory.mktemp(f'classes{n}'), n) for n in (150, 11)}


def quarter(cfg: Config) -> None:
    """Pictures and crops of a quarter of their edges; first that the config agrees on the crop."""
    size = cfg.model.backbone.img_size
    crop = (size, size)
    pipeline = cfg.train_dataloader.dataset.pipeline
    steps = {step.type: step for step in pipeline}
    assert crop == cfg.model.data_preprocessor.size == cfg.model.test_cfg.crop_size
    assert crop == steps['RandomCrop'].crop_size
    scale = steps['RandomResize'].scale
    test_resize = cfg.test_dataloader.dataset.pipeline[1]
    assert test_resize.scale == scale
    assert min(scale) == size
    assert cfg.model.test_cfg.stride == (size * 2 // 3, size * 2 // 3)

    cfg.model.backbone.img_size = size // 4
    smaller = (size // 4, size // 4)
    cfg.model.data_preprocessor.size = steps['RandomCrop'].crop_size = smaller
    cfg.model.test_cfg.update(crop_size=smaller, stride=(size // 6, size // 6))
    for step in (steps['RandomResize'], test_resize, *cfg.tta_pipeline[1].transforms[0]):
        step.scale = tuple(edge // 4 for edge in step.scale)


def load(name: str, folders: dict) -> Config:
    """A config whose backbone is flat and narrow, whose heads are narrow, and all else as it is."""
    cfg = Config.fromfile(ROOT / f'configs/{name}.py')
    if 'camvid' not in name:
        quarter(cfg)
    backbone, arch = cfg.model.backbone, cfg.model.backbone.arch
    arch = ARCHS[arch] if isinstance(arch, str) else arch
    backbone.arch = dict(
        num_layers=DEPTH, embed_dims=WIDTH, num_heads=1, feedforward_channels=WIDTH
    )
    if 'out_indices' in backbone:
        assert len(backbone.out_indices) == DEPTH
        assert backbone.out_indices[-1] == arch['num_layers'] - 1
        backbone.out_indices = tuple(range(DEPTH))
    if 'neck' in cfg.model:
        assert cfg.model.neck.embed_dim == arch['embed_dims']
        cfg.model.neck.embed_dim = WIDTH
    auxiliary = cfg.model.get('auxiliary_head', [])
    heads = [cfg.model.decode_head, *(auxiliary if isinstance(auxiliary, list) else [auxiliary])]
    for head in heads:
        several = isinstance(head.in_channels, list)
        assert head.in_channels == ([arch['embed_dims']] * 4 if several else arch['embed_dims'])
        head.in_channels = [WIDTH] * 4 if several else WIDTH
        head.channels = 8
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[loader].dataset.data_root = str(folders[heads[0].num_classes])
    return cfg


def build(cfg: Config):
    """The model as the Runner prepares it for one process."""
    model = MODELS.build(cfg.model)
    model.init_weights()
    return revert_sync_batchnorm(model)


def pretrained(cfg: Config, path: Path) -> dict:
    """Write what pre-training at 224 leaves: BEiT a shared table, a mask token and a head."""
    backbone = {k: v for k, v in cfg.model.backbone.items() if k not in ('type', 'init_cfg')}
    backbone.update(
        img_size=14 * backbone['patch_size'], use_rel_pos_bias=False, out_indices=-1,
        out_type='raw', final_norm=True,
    )  # fmt: skip
    if cfg.model.backbone.type == 'beit_mm.BEiT':
        model = BEiT(use_shared_rel_pos_bias=True, with_mask_token=True, **backbone)
    else:
        model = VisionTransformer(**{**backbone, 'positions': 'sine-cosine'})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.02)
    state = {f'backbone.{name}': tensor for name, tensor in model.state_dict().items()}
    torch.save(dict(state_dict={**state, 'head.cls_head.bias': torch.zeros(3)}), path)
    return state


@pytest.mark.parametrize('name', EVERY)
def test_config_states_its_command_trains_from_pretraining_and_tests(name, folders, tmp_path):
    path = ROOT / f'configs/{name}.py'
    assert f'configs/{name}.py' in path.read_text().split('"""')[1]
    cfg = load(name, folders)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        weights = None
        if cfg.model.backbone.get('init_cfg'):
            cfg.model.backbone.init_cfg.checkpoint = str(tmp_path / 'mim.pth')
            weights = pretrained(cfg, tmp_path / 'mim.pth')
        for mode in ('train', 'test'):
            check_config(cfg, mode)
        model = build(cfg)
        if weights is not None:
            last = DEPTH - 1
            of_mae = name.startswith('mae_')
            for leaf in (
                'attn.qkv.weight',
                'mlp.fc2.weight',
                'norm2.bias' if of_mae else 'gamma_2',
            ):
                key = f'backbone.blocks.{last}.{leaf}'
                assert torch.equal(model.state_dict()[key], weights[key])
            # The shared table of 14 x 14 went to every block, at the grid of the crops.
            tables = [block.attn.rel_pos_bias.table for block in model.backbone.blocks]
            side = cfg.model.backbone.img_size // cfg.model.backbone.patch_size
            assert all(table.shape[0] == (2 * side - 1) ** 2 + 3 for table in tables)
            assert all(torch.equal(table, tables[0]) for table in tables)
            # MAE's has none: relative positions are added here, and start at zero.
            assert tables[0].any() == (not of_mae)
            assert model.backbone.pos_embed is None or model.backbone.pos_embed.requires_grad

        # A branch that stochastic depth drops for both images would not move.
        for block in model.backbone.blocks:
            block.drop_path.drop_prob = 0.0
        optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        before = {n: p.clone() for n, p in model.named_parameters()}
        losses = model.train().train_step(pseudo_collate([dataset[0], dataset[1]]), optim_wrapper)
        assert torch.isfinite(losses['loss'])
        if name != 'beit_large_upernet_ade20k_640':  # which waits for a second batch
            kept = {n for n, p in model.named_parameters() if torch.equal(p, before[n])}
            # Biases before a norm over the batch change nothing; [S] of the last block neither.
            assert not {n for n in kept if not n.endswith(('bias', 'cls_token'))}

        dataset = DATASETS.build(cfg.test_dataloader.dataset)
        evaluator = METRICS.build(cfg.test_evaluator)
        evaluator.dataset_meta = dataset.metainfo
        for index in range(2):
            batch = pseudo_collate([dataset[index]])
            samples = model.eval().test_step(batch) if index == 0 else []
            for sample in samples:
                assert sample.pred_sem_seg.shape == sample.ori_shape == sample.gt_sem_seg.shape
                evaluator.process(batch, [sample.to_dict()])
        assert set(evaluator.evaluate(size=1)) == {'aAcc', 'mIoU', 'mAcc'}


@pytest.mark.parametrize('name', ['beit_segment_ade20k', 'beit_upernet_ade20k_640'])
def test_scales_and_flips_are_averaged(name, folders):
    cfg = load(name, folders)
    cfg.model.backbone.init_cfg = None
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        check_config(cfg, 'test')
        model = MODELS.build(dict(cfg.tta_model, module=cfg.model))
        views = DATASETS.build(cfg.test_dataloader.dataset)[1]
        short = cfg.model.test_cfg.crop_size[0]
        edges = [min(view.shape[1:]) for view in views['inputs']]
        ratios = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
        assert edges == [int(short * ratio + 0.5) for ratio in ratios for _ in range(2)]
        assert torch.equal(views['inputs'][0], views['inputs'][1].flip(2))

        # Of a few, so that it takes no minute.
        chosen = [0, 1, 3]
        batch = pseudo_collate([{key: [value[i] for i in chosen] for key, value in views.items()}])
        model.eval()
        merged = model.test_step(batch)[0]
        alone = [
            model.module.test_step(pseudo_collate([{k: v[i] for k, v in views.items()}]))[0]
            for i in chosen
        ]
        mean = torch.stack([s.seg_logits.data.softmax(dim=0) for s in alone]).mean(dim=0)
        assert torch.equal(merged.pred_sem_seg.data.squeeze(), mean.argmax(dim=0))


@pytest.mark.parametrize(('photo', 'padded'), [((360, 480), (368, 480)), ((512, 768), (512, 768))])
@pytest.mark.parametrize('mode', ['whole', 'slide'])
def test_non_square_crops_train_and_test(photo, padded, mode, tmp_path):
    folders = {150: make_folders(tmp_path, 11, sizes=(photo, photo))}
    cfg = load('beit_segment_ade20k', folders)
    # At full size 150 classes and four heads would take a minute.
    cfg.model.decode_head.num_classes = 11
    cfg.model.auxiliary_head = []
    cfg.model.backbone.update(init_cfg=None, img_size=padded)
    cfg.model.data_preprocessor.update(size=None, size_divisor=16)
    # A window that does not divide the photo, and is not that of training.
    cfg.model.test_cfg = dict(mode=mode, crop_size=(256, 384), stride=(171, 256))
    for loader in ('train_dataloader', 'test_dataloader'):
        steps = cfg[loader].dataset.pipeline
        cfg[loader].dataset.pipeline = [s for s in steps if 'Resize' not in s.type]
    crop = next(s for s in cfg.train_dataloader.dataset.pipeline if s.type == 'RandomCrop')
    crop.crop_size = photo
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = build(cfg)
        optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        seen = []
        model.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[2:]))
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        losses = model.train().train_step(pseudo_collate([dataset[0], dataset[1]]), optim_wrapper)
        assert torch.isfinite(losses['loss'])
        sample = DATASETS.build(cfg.test_dataloader.dataset)[0]
        predicted = model.eval().test_step(pseudo_collate([sample]))[0]
    assert predicted.pred_sem_seg.shape == photo
    assert seen[0] == padded
    assert set(seen[1:]) == {padded if mode == 'whole' else (256, 384)}


def test_slide_and_whole_agree_where_one_window_holds_the_photo(folders):
    cfg = load('beit_segment_ade20k', folders)
    cfg.model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = build(cfg).eval()
        image = torch.randint(0, 256, (3, 101, 125), dtype=torch.uint8)
        results = []
        for mode in ('slide', 'whole'):
            model.test_cfg.mode = mode
            batch = model.data_preprocessor(dict(inputs=[image], data_samples=[SegDataSample()]))
            metas = [dict(ori_shape=(101, 125), img_shape=(101, 125), pad_shape=(112, 128))]
            results.append(model.inference(batch['inputs'], metas))
    assert results[0].shape == (1, 150, 112, 128)
    torch.testing.assert_close(*results)


def test_inferencer_takes_single_photos_of_any_size(folders, tmp_path):
    cfg = load('camvid/scratch', folders)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        model.init_weights()
        meta = dict(dataset_meta=dict(cfg.train_dataloader.dataset.metainfo))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), tmp_path / 'segmentor.pth')
    inferencer = MMSegInferencer(cfg, str(tmp_path / 'segmentor.pth'), device='cpu')
    rng = np.random.default_rng(0)
    for size in ((37, 53), (360, 480), (301, 200)):
        photo = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        result = inferencer(photo, return_vis=True)
        assert result['predictions'].shape == size
        assert result['visualization'].shape == (*size, 3)
    Image.fromarray(photo).save(tmp_path / 'photo.png')
    # PNG, which loses nothing, and colours in OpenCV's order.
    from_file = inferencer(str(tmp_path / 'photo.png'))['predictions']
    assert np.array_equal(from_file, inferencer(photo[..., ::-1].copy())['predictions'])


def test_photos_without_annotations_are_named_before_training(tmp_path):
    folders = {150: make_folders(tmp_path, 150)}
    cfg = load('beit_upernet_ade20k', folders)
    cfg.model.backbone.init_cfg = None
    check_config(cfg, 'train')
    # As MMSegmentation lists them: hidden files are none, and links are gone into.
    (tmp_path / 'images/training/._1.jpg').write_bytes(b'what macOS leaves there')
    check_config(cfg, 'train')
    for part in ('images', 'annotations'):
        (tmp_path / part / 'training').rename(tmp_path / part / 'elsewhere')
        (tmp_path / part / 'training').mkdir()
        (tmp_path / part / 'training/linked').symlink_to(tmp_path / part / 'elsewhere')
    check_config(cfg, 'train')
    for part in ('images', 'annotations'):
        shutil.rmtree(tmp_path / part / 'training')
        (tmp_path / part / 'elsewhere').rename(tmp_path / part / 'training')
    missing = tmp_path / 'annotations/training/1.png'
    missing.unlink()
    photo = tmp_path / 'images/training/1.jpg'
    with pytest.raises(ConfigError, match=re.escape(f'{photo} has no annotation; {missing}')):
        check_config(cfg, 'train')
    check_config(cfg, 'test')
    cfg.test_dataloader.dataset.img_suffix = '.png'
    with pytest.raises(ConfigError, match=r'holds no \*\.png'):
        check_config(cfg, 'test')
    cfg.train_dataloader.dataset.data_root = str(tmp_path / 'nowhere')
    with pytest.raises(ConfigError, match=r'train_dataloader\.dataset\.data_prefix\.img_path.*no '):
        check_config(cfg, 'train')


@pytest.mark.parametrize('name', ADE20K)
def test_schedules_are_those_of_the_recipes(name):
    """Peak rate after 1500 steps, then linearly to 0 at the last step of 16 images."""
    cfg = Config.fromfile(ROOT / f'configs/{name}.py')
    peak, decay = {
        'beit_segment_ade20k': (1e-3, 0.65),
        'beit_segment_ade20k_from_intermediate': (3e-5, 0.9),
        'beit_upernet_ade20k': (7e-4, 0.65),
        'beit_upernet_ade20k_640': (3e-5, 0.9),
        'beit_large_upernet_ade20k_640': (2e-5, 0.95),
        'mae_upernet_ade20k': (1e-4, 0.65),
        'mae_large_upernet_ade20k': (1e-4, 0.75),
    }[name]
    accumulated = cfg.optim_wrapper.get('accumulative_counts', 1)
    assert cfg.train_dataloader.batch_size * 8 * accumulated == 16
    # 160k, or, of MAE, 100 epochs of 20,210 photos.
    steps = 126_300 if name.startswith('mae_') else 160_000
    assert cfg.train_cfg.max_iters == steps * accumulated
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate == decay
    assert cfg.optim_wrapper.optimizer.weight_decay == 0.05
    warmup, decline = cfg.param_scheduler
    assert (warmup.begin, warmup.end) == (0, 1500 * accumulated)
    assert (decline.begin, decline.end) == (1500 * accumulated, steps * accumulated)

    # What these schedulers compute, at a hundredth of the length.
    wrapper = build_optim_wrapper(
        torch.nn.Linear(1, 1), dict(optimizer=cfg.optim_wrapper.optimizer)
    )
    schedulers = [
        PARAM_SCHEDULERS.get(s.pop('type'))(
            optimizer=wrapper, begin=s.pop('begin') // 100, end=s.pop('end') // 100, **s
        )
        for s in (warmup, decline)
    ]
    rates = []
    for _ in range(steps // 100 * accumulated):
        rates.append(wrapper.get_lr()['lr'][0] / peak)
        wrapper.optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    warm = 15 * accumulated
    np.testing.assert_allclose(rates[:warm], np.linspace(1e-6, 1, warm), rtol=1e-5)
    falling = np.linspace(1, 0, len(rates) - warm)
    np.testing.assert_allclose(rates[warm:], falling, atol=1e-3)
