"""The quickstart's pre-training, to make mistakes in."""

from pathlib import Path

import torch
from mmengine.config import Config

from beit_mm.models import DiscreteVAE

ROOT = Path(__file__).parent.parent.parent


def pretraining_in(folder: Path) -> Config:
    """Its config, with data and tokenizer in place in a folder."""
    cfg = Config.fromfile(ROOT / 'configs/quickstart/pretrain.py')
    for split in ('train', 'val'):
        (folder / split).mkdir()
        cfg[f'{split}_dataloader'].dataset.data_root = str(folder)
    tokenizer = dict(cfg.model.target_generator.tokenizer)
    tokenizer.pop('type')
    torch.save(DiscreteVAE(**tokenizer).state_dict(), folder / 'tokenizer.pth')
    cfg.model.target_generator.checkpoint = str(folder / 'tokenizer.pth')
    return cfg
