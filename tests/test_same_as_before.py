"""Results of version 0.1.0, before its files were rearranged: the same numbers come out today.

``before/run.pth`` is a checkpoint that 0.1.0 wrote after 3 of 6 iterations of :func:`make_config`;
``before/figures.json`` is what the functions below gave there. torch 2.1 draws initial values in
another order than later versions, so there are two sets of what depends on them.
"""

import hashlib
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image
from torch import nn

from beit_mm.checkpoints import load_state_dict
from beit_mm.datasets import BlockwiseMaskGenerator, blockwise_mask, random_mask
from beit_mm.engine import build_runner
from beit_mm.models import BEiT, DiscreteVAE

BEFORE = Path(__file__).with_name('before')
TOKENIZER = dict(vocab_size=12, hidden=4, num_groups=3, blocks_per_group=1, decoder_input=4)


def make_config(folder: Path) -> Config:
    """A pre-training of 6 iterations on 12 made photos, in which everything random is drawn."""
    rng = np.random.default_rng(0)
    (folder / 'photos').mkdir(parents=True, exist_ok=True)
    for index in range(12):
        small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        photo = small.resize((40 + index, 36), Image.Resampling.BICUBIC)
        photo.save(folder / 'photos' / f'{index:02d}.png')
    torch.manual_seed(0)
    torch.save(DiscreteVAE(**TOKENIZER).state_dict(), folder / 'tokenizer.pth')
    return Config(
        dict(
            default_scope='mmpretrain',
            custom_imports=dict(imports=['beit_mm'], allow_failed_imports=False),
            work_dir=str(folder / 'run'),
            experiment_name='before',
            randomness=dict(seed=3),
            launcher='none',
            model=dict(
                type='beit_mm.MaskedImageModeling',
                backbone=dict(
                    type='beit_mm.BEiT', img_size=32, patch_size=8, out_type='raw',
                    with_mask_token=True, final_norm=True, drop_path_rate=0.3,
                    use_rel_pos_bias=False, use_shared_rel_pos_bias=True,
                    arch=dict(embed_dims=8, num_layers=2, num_heads=2, feedforward_channels=16),
                ),
                target_generator=dict(
                    type='beit_mm.DVAETargetGenerator',
                    tokenizer=dict(type='beit_mm.DiscreteVAE', **TOKENIZER),
                    checkpoint=str(folder / 'tokenizer.pth'),
                ),
                head=dict(type='beit_mm.MIMHead', embed_dims=8, vocab_size=12, num_masked=6),
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
                    type='CustomDataset', data_root=str(folder), data_prefix='photos',
                    with_label=False,
                    pipeline=[
                        dict(type='beit_mm.LoadTwoViews', size=32, second_size=16,
                             scale=(0.3, 1.0), flip_prob=0.5),
                        dict(type='beit_mm.BlockwiseMaskGenerator', grid_size=(4, 4),
                             num_masked=6, min_block=2),
                        dict(type='PackInputs'),
                    ],
                ),
            ),
            train_cfg=dict(by_epoch=False, max_iters=6),
            optim_wrapper=dict(
                optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.05),
                clip_grad=dict(max_norm=1.0),
                paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
            ),
            param_scheduler=[dict(type='CosineAnnealingLR', by_epoch=False, T_max=6)],
            default_hooks=dict(
                logger=dict(type='LoggerHook', interval=1),
                checkpoint=dict(type='beit_mm.WholeCheckpointHook', by_epoch=False, interval=3),
            ),
        )
    )  # fmt: skip


def train(folder: Path, resume: str | None = None) -> dict:
    """What a run logs, and what becomes of its weights."""
    cfg = make_config(folder)
    if resume is not None:
        cfg.resume, cfg.load_from = True, resume
    # Names of runs must differ within a process.
    cfg.experiment_name += str(len(list(folder.parent.rglob('*')))) + folder.name
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        runner = build_runner(cfg, 'train')
        runner.train()
    losses = runner.message_hub.get_scalar('train/loss')._log_history.tolist()
    return dict(losses=losses, weights=summarize(load_state_dict(folder / 'run' / 'iter_6.pth')))


def summarize(weights: dict) -> dict[str, float]:
    """One number a tensor, in which each of its entries counts another way."""
    return {
        name: float((t.double().flatten() * torch.arange(1, t.numel() + 1).double().sin()).sum())
        for name, t in weights.items()
        if t.is_floating_point()
    }


def measure_masks() -> dict[str, str]:
    """Digests of masks: exactly these bits."""

    def digest(masks) -> str:
        return hashlib.sha256(np.stack(masks).tobytes()).hexdigest()

    rng = np.random.default_rng(1)
    made = dict(
        function=digest([blockwise_mask(rng=rng) for _ in range(50)]),
        at_most=digest([blockwise_mask(exact=False, max_block=40, rng=rng) for _ in range(50)]),
        random=digest([random_mask(rng=rng) for _ in range(50)]),
    )
    random.seed(2)
    generator = BlockwiseMaskGenerator((14, 14), 75)
    made['transform'] = digest([generator.transform({})['mask'] for _ in range(50)])
    return made


def measure_initial_values() -> dict[str, float]:
    """Of a backbone with everything that has an initial value."""
    torch.manual_seed(5)
    backbone = BEiT(
        dict(embed_dims=8, num_layers=3, num_heads=2, feedforward_channels=16),
        img_size=32, use_abs_pos_emb=True, with_mask_token=True, final_norm=True,
    )  # fmt: skip
    return summarize(backbone.state_dict())


@pytest.fixture(scope='module')
def figures() -> dict:
    return json.loads((BEFORE / 'figures.json').read_text())


@pytest.fixture(scope='module')
def figures_here(figures) -> dict:
    """Those of a torch that draws as this one does."""
    torch.manual_seed(0)
    draws = nn.init.trunc_normal_(torch.empty(4)).tolist()
    for row in figures['by_torch']:
        if draws == pytest.approx(row['draws'], abs=1e-5):
            return row
    # Skipped, nobody would see that nothing is compared any more.
    return pytest.fail(f'torch {torch.__version__} draws other initial values: add its row')


def test_masks(figures):
    assert measure_masks() == figures['masks']


def test_initial_values(figures_here):
    assert measure_initial_values() == pytest.approx(figures_here['initial_values'], rel=1e-6)


def test_whole_run(tmp_path, figures_here):
    """Photos, crops, colours, masks, tokens, drop path, gradients, clipping, optimizer."""
    assert train(tmp_path)['losses'] == pytest.approx(figures_here['losses'], rel=1e-5)


def test_its_checkpoint_resumes(tmp_path, figures):
    shutil.copy(BEFORE / 'run.pth', tmp_path / 'run.pth')
    result = train(tmp_path, resume=str(tmp_path / 'run.pth'))
    assert result['losses'] == pytest.approx(figures['run']['losses'], rel=1e-5)
    assert result['weights'] == pytest.approx(figures['run']['weights'], rel=1e-3, abs=1e-4)


def test_its_checkpoint_loads():
    backbone = BEiT(
        dict(embed_dims=8, num_layers=2, num_heads=2, feedforward_channels=16),
        img_size=64, patch_size=8, init_cfg=dict(type='Pretrained', checkpoint=BEFORE / 'run.pth'),
    )  # fmt: skip
    backbone.init_weights()
    theirs = load_state_dict(BEFORE / 'run.pth')
    assert torch.equal(
        backbone.blocks[1].mlp.fc1.weight, theirs['backbone.blocks.1.mlp.fc1.weight']
    )
