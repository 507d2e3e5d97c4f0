"""Real trainings of seconds on the CPU, by the recipes for one's own images."""

import re
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image

from beit_mm.engine import build_runner
from beit_mm.models import DiscreteVAE
from beit_mm.recipes import folder_of_recipes

TOKENIZER = dict(num_groups=3, blocks_per_group=1, hidden=8, decoder_input=8)
SIZES = dict(
    arch=dict(embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64), embed_dims=32,
    image_size=32, second_size=16, grid_size=(4, 4), num_masked=6, min_block=2, batch_size=16,
    learning_rate=2e-3, max_iters=60, warmup_iters=5, num_workers=0,
)  # fmt: skip


def write_photos(folder: Path, plain: int = 64, noisy: int = 0, broken: int = 0) -> list[str]:
    """Photos of one colour of six, whose hidden patches are easy to tell; of many; of no bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(plain + noisy + broken):
        color = np.array([index & 1, index >> 1 & 1, index % 3 / 2]) * 255
        pixels = np.broadcast_to(color, (32, 32, 3)).astype(np.uint8)
        if plain <= index < plain + noisy:
            # A colour a patch, so that none tells of the others.
            patches = rng.integers(0, 2, (4, 4, 3), dtype=np.uint8) * 255
            pixels = patches.repeat(8, axis=0).repeat(8, axis=1)
        file = folder / f'{index:03d}.png'
        Image.fromarray(pixels).save(file)
        if index >= plain + noisy:
            file.write_bytes(b'no image')
    return [f'{index:03d}.png' for index in range(plain + noisy + broken)]


def pretraining(folder: Path, val: list[str] | None = None, vocab_size: int = 12, **photos):
    """The config of a small pre-training on made photos, its work directory ``folder / 'run'``."""
    names = write_photos(folder / 'photos', **photos)
    val = val or names[:8]
    (folder / 'val.txt').write_text('\n'.join(val))
    (folder / 'train.txt').write_text('\n'.join(name for name in names if name not in val))
    tokenizer = dict(type='beit_mm.DiscreteVAE', vocab_size=vocab_size, **TOKENIZER)
    torch.manual_seed(0)
    torch.save(DiscreteVAE(vocab_size, **TOKENIZER).state_dict(), folder / 'tokenizer.pth')
    values = dict(
        SIZES, data_root=str(folder / 'photos'), train_list=str(folder / 'train.txt'),
        val_list=str(folder / 'val.txt'), tokenizer_file=str(folder / 'tokenizer.pth'),
        tokenizer=tokenizer,
    )  # fmt: skip
    text = (folder_of_recipes() / 'own/pretrain.py').read_text()
    text = text.replace("'./_base_", "'beit_mm::own/_base_")
    text = text.replace("'../_base_", "'beit_mm::_base_")
    for name, value in values.items():
        text, count = re.subn(
            rf'^{name} = (dict\(\n(.*\n)*?\)|.*)$', lambda _, n=name, v=value: f'{n} = {v!r}',
            text, count=1, flags=re.M,
        )  # fmt: skip
        assert count == 1, name
    (folder / 'small.py').write_text(text)
    cfg = Config.fromfile(folder / 'small.py')
    cfg.work_dir, cfg.launcher, cfg.log_level = str(folder / 'run'), 'none', 'INFO'
    cfg.default_hooks.logger = dict(type='LoggerHook', interval=2)
    cfg.log_processor = dict(by_epoch=False, window_size=2)
    cfg.train_cfg.val_interval = 20
    cfg.randomness = dict(seed=0)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.persistent_workers = False
    return cfg


def train(cfg: Config) -> Path:
    """Run it, and give its work directory."""
    cfg.experiment_name = Path(cfg.work_dir).parent.name
    build_runner(cfg, 'train').train()
    return Path(cfg.work_dir)
