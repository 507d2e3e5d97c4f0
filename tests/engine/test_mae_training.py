"""MAE by its recipe: killed and resumed, with a broken image, an average and accumulation."""

import itertools

import numpy as np
import pytest
import torch
from mmengine.config import Config
from noisy_run import KillAt, Killed, assert_same_end
from PIL import Image

from beit_mm.checkpoints import CheckpointError, load_state_dict
from beit_mm.commands.filling import fill_recipe
from beit_mm.commands.pretrained_task import pretrained_task
from beit_mm.component import ConfigError
from beit_mm.engine import build_runner
from beit_mm.engine.checking.config_check import check_config

run_numbers = itertools.count()
NUM_ITERS = 10


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp('mae')
    rng = np.random.default_rng(0)
    for index in range(24):
        pixels = rng.integers(0, 256, (40, 44, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f'{index:02d}.png')
    (root / '05.png').write_bytes(b'no image')
    names = [f'{index:02d}.png\n' for index in range(24)]
    (root / 'train.txt').write_text(''.join(names[:20]))
    (root / 'val.txt').write_text(''.join(names[20:]))
    return root


def config(photos, **values):
    arch = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
    small = dict(
        data_root=str(photos), train_list=str(photos / 'train.txt'),
        val_list=str(photos / 'val.txt'), arch=arch, embed_dims=16, image_size=32,
        decoder=dict(embed_dims=8, num_layers=1, num_heads=1), grid_size=(4, 4), num_masked=12,
        batch_size=4, max_iters=NUM_ITERS, warmup_iters=2, num_workers=0,
    )  # fmt: skip
    cfg = Config.fromstring(fill_recipe('own/mae.py', {**small, **values}, 'A test.'), '.py')
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.persistent_workers = False
    return cfg


def train(photos, work_dir, kill_at=None, resume=False):
    cfg = config(photos)
    cfg.work_dir, cfg.launcher, cfg.resume = str(work_dir), 'none', resume
    cfg.log_level = 'WARNING'
    cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=1)
    cfg.default_hooks.logger.interval = 1
    cfg.optim_wrapper.accumulative_counts = 2
    cfg.custom_hooks.append(dict(type='EMAHook', momentum=0.1))
    cfg.experiment_name = f'test_mae_{next(run_numbers)}'
    runner = build_runner(cfg, 'train')
    if kill_at is not None:
        runner.register_hook(KillAt(kill_at))
    runner.train()
    return runner


def test_resumed_is_undisturbed_bit_for_bit(photos, tmp_path):
    one, other = tmp_path / 'one', tmp_path / 'other'
    train(photos, one)
    for number, iteration in enumerate((3, 4, 8)):
        with pytest.raises(Killed):
            train(photos, other, kill_at=iteration, resume=number > 0)
    train(photos, other, resume=True)
    assert_same_end(one, other, f'iter_{NUM_ITERS}.pth')

    # The checkpoint alone is enough to look at what it fills in.
    found = pretrained_task(one)
    assert found.one_view
    weights = load_state_dict(one / f'iter_{NUM_ITERS}.pth')
    for name, tensor in found.task.state_dict().items():
        torch.testing.assert_close(tensor.cpu(), weights[name], msg=name)

    # One that has been tampered with is told in a line.
    content = torch.load(one / f'iter_{NUM_ITERS}.pth', weights_only=False)
    damaged = {
        'does not fit its config: decoder.embed.bias is (3,) there, and (8,) by': torch.ones(3),
        "does not fit its config: it lacks ['decoder.embed.bias']": None,
        "holds values that are not finite in 'decoder.embed.bias'": torch.full((8,), torch.nan),
    }
    for said, tensor in damaged.items():
        kept = {**content['state_dict'], 'decoder.embed.bias': tensor}
        kept = {name: weight for name, weight in kept.items() if weight is not None}
        torch.save({**content, 'state_dict': kept}, tmp_path / 'damaged.pth')
        with pytest.raises(CheckpointError) as stop:
            pretrained_task(tmp_path / 'damaged.pth')
        assert said in str(stop.value)
        assert '\n' not in str(stop.value)


@pytest.mark.parametrize(
    ('values', 'said'),
    [
        (dict(num_masked=16), 'num_masked is 16; of 16 patches some must be hidden and some seen'),
        (dict(num_masked=0), 'num_masked is 0; of 16 patches some must be hidden and some seen'),
        (dict(image_size=36), 'img_size is 36 x 36; it must be a multiple of patch_size, 8 x 8'),
        (dict(embed_dims=24), 'encoder_dims is 24; it must be the width of model.backbone, 16'),
        (
            dict(decoder=dict(embed_dims=10, num_layers=1, num_heads=3)),
            'embed_dims is 10; it must be a multiple of num_heads, 3, and of 4',
        ),
    ],
)
def test_mistakes_are_told_before_the_run(photos, values, said):
    with pytest.raises(ConfigError, match=said):
        check_config(config(photos, **values), 'train')


# What is set in the config, and the whole of what is said of it.
TOLD = {
    'a grid mask of nine': (
        {'train_dataloader.dataset.pipeline.1.type': 'beit_mm.GridMaskGenerator',
         'train_dataloader.dataset.pipeline.1.num_masked': 9, 'model.head.num_masked': 9,
         'val_dataloader.dataset.pipeline.2.num_masked': 9},
        'train_dataloader.dataset.pipeline[1]: num_masked is 9; to show the first of every k x k '
        'patches of a grid of 4 x 4 hides 0, 12, 15'),
    'targets of another size': (
        {'model.target_generator.patch_size': 16},
        'a target of model.target_generator stands for 16 x 16 pixels; without a second view it '
        'must be the patch of model.backbone, 8 x 8'),
    **{
        f'a head of {number} places': (
            {'model.head.num_masked': number},
            '\n'.join(
                f'model.head.num_masked is {number}; it must be {step}.num_masked, 12, or None to '
                'count the places in every step'
                for step in ('train_dataloader.dataset.pipeline[1]',
                             'val_dataloader.dataset.pipeline[2]')))
        for number in (10, 14)
    },
    'a number of places where all are predicted': (
        {'model.predict_all': True},
        'model.head.num_masked is 12; with predict_all it must be None, to count the places in '
        'every step'),
    'a head with too few places for an encoder of all': (
        {'model.encode_all': True, 'model.backbone.with_mask_token': True,
         'model.head.num_masked': 10},
        'model.head.num_masked is 10; it must be at least 12, train_dataloader.dataset.pipeline[1]'
        '.num_masked, or None to count the places in every step'),
    'no decoder': (
        {'model.decoder': None},
        'model.decoder is missing; it must be the config of an MAEDecoder'),
    'classes of the one view': (
        {'model.target_generator': dict(
            _delete_=True, type='beit_mm.MeanColorTargetGenerator', patch_size=8),
         'model.head': dict(_delete_=True, type='beit_mm.MIMHead', embed_dims=8, vocab_size=512)},
        '\n'.join(
            f'{step}.second_size is None; the classes of model.target_generator are of a second '
            'view, in [0, 1], whose size it must be'
            for step in ('train_dataloader.dataset.pipeline[0]',
                         'val_dataloader.dataset.pipeline[1]'))),
    'two tokens before the patches': (
        {'model.backbone.num_extra_tokens': 2},
        'model.backbone.num_extra_tokens is 2; a masked autoencoder takes one, [S]'),
    'a stem': (
        {'model.backbone.stem': dict(type='beit_mm.HybridStem', stages=())},
        'model.backbone has a stem, whose features at seen places tell of hidden pixels; pre-train '
        'on patches of the image itself, stem=None'),
    'mask tokens of a network without': (
        {'model.encode_all': True},
        'model.backbone.with_mask_token is False; model.encode_all needs the mask token'),
    'features in place of tokens': (
        {'model.backbone.out_type': 'featmap'},
        "model.backbone.out_type is 'featmap'; it must be 'raw'"),
    'a misspelt size': (
        {'model.backbone.arch.num_layer': 3},
        "model: arch {'embed_dims': 16, 'num_layers': 2, 'num_heads': 2, 'feedforward_channels': "
        "32, 'num_layer': 3} has num_layer, which nothing reads; its keys are embed_dims, "
        'num_layers, num_heads, feedforward_channels'),
    'a width that the heads do not divide': (
        {'model.backbone.arch.num_heads': 3},
        'model: arch.embed_dims is 16; it must be a multiple of num_heads, 3'),
    'a misspelt setting': (
        {'model.backbone.use_rel_pos_bais': False},
        'model.backbone.use_rel_pos_bais: beit_mm.VisionTransformer has no such setting; did you '
        "mean 'use_rel_pos_bias'?"),
    "a misspelt setting of BEiT's": (
        {'model.backbone.type': 'beit_mm.BEiT', 'model.backbone.use_rel_pos_bais': False},
        'model.backbone.use_rel_pos_bais: beit_mm.BEiT has no such setting; did you mean '
        "'use_rel_pos_bias'?"),
    'a misspelt setting that BEiT hands on': (
        {'model.backbone.type': 'beit_mm.BEiT', 'model.backbone.frozen_stage': 1},
        'model.backbone.frozen_stage: beit_mm.BEiT has no such setting; did you mean '
        "'frozen_stages'?"),
    'a patch of nothing': (
        {'model.backbone.patch_size': 0, 'model.decoder.patch_size': 0},
        'model.backbone.img_size is 32 x 32; it must be a multiple of patch_size, 0 x 0'),
    'no heads': (
        {'model.backbone.arch.num_heads': 0},
        'model: arch.num_heads is 0; it must be a whole number above 0'),
    'no heads of the decoder': (
        {'model.decoder.num_heads': 0},
        'model.decoder.num_heads is 0; it must be above 0'),
    'no size': (
        {'model.backbone.arch': 3},
        'model: arch 3 is none of tiny, small, base, large, huge, nor a dict'),
    "positions that are not BEiT's": (
        {'model.backbone.type': 'beit_mm.BEiT', 'model.backbone.positions': 'learned'},
        "model.backbone.positions is a VisionTransformer's; the positions of a BEiT are "
        'use_abs_pos_emb, use_rel_pos_bias and use_shared_rel_pos_bias'),
    'initial values that are not known': (
        {'model.backbone.type': 'beit_mm.BEiT', 'model.backbone.initial_values': 'kaiming'},
        "model.backbone.initial_values is 'kaiming'; there are truncated-normal, xavier"),
}  # fmt: skip


@pytest.mark.parametrize('case', TOLD)
def test_mistakes_of_the_parts_are_told_in_a_line(photos, case):
    settings, said = TOLD[case]
    cfg = config(photos)
    cfg.merge_from_dict(settings)
    with pytest.raises(ConfigError) as stop:
        check_config(cfg, 'train')
    assert str(stop.value) == said


@pytest.mark.parametrize(
    'settings',
    [
        {'model.head.num_masked': None},
        {'model.head.num_masked': None, 'model.predict_all': True},
        {'model.head.num_masked': 14, 'model.encode_all': True,
         'model.backbone.with_mask_token': True},
    ],
)  # fmt: skip
def test_places_that_are_counted_or_have_room_are_no_mistake(photos, settings):
    cfg = config(photos)
    cfg.merge_from_dict(settings)
    check_config(cfg, 'train')
