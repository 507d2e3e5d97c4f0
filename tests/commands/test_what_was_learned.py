"""The pictures that a pre-training and the quickstart leave of the images held out."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

from beit_mm.commands import learned
from beit_mm.commands.learned import draw_pretraining
from beit_mm.models import DiscreteVAE
from beit_mm.visualization.predicted_tokens import TOKENS
from beit_mm.visualization.reconstructions import PASTED

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def run(tmp_path):
    """The quickstart's pre-training of random weights, and a dozen images held out."""
    torch.manual_seed(0)
    cfg = Config.fromfile(ROOT / 'configs/quickstart/pretrain.py')
    tokenizer = {k: v for k, v in cfg.model.target_generator.tokenizer.items() if k != 'type'}
    torch.save(DiscreteVAE(**tokenizer).state_dict(), tmp_path / 'tokenizer.pth')
    cfg.model.target_generator.checkpoint = str(tmp_path / 'tokenizer.pth')
    cfg.val_dataloader.dataset.data_root = str(tmp_path)
    (tmp_path / 'val').mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        pixels = rng.integers(0, 256, (32, 32), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / 'val' / f'{number:02}.png')
    init_default_scope('mmpretrain')
    torch.save(MODELS.build(cfg.model).state_dict(), tmp_path / 'pretrained.pth')
    return cfg, tmp_path / 'pretrained.pth', tmp_path


def test_the_seed_decides_which_images_are_drawn_and_what_is_hidden(run, monkeypatch):
    drawn = []
    monkeypatch.setattr(learned, 'draw_reconstructions', lambda rows, *_, **__: drawn.append(rows))
    for before, seed in ((1, 0), (2, 0), (3, 1)):
        random.seed(before)
        np.random.seed(before)
        draw_pretraining(Config(run[0].to_dict()), *run[1:], seed)
    first, again, other = drawn
    assert list(first)[-2:] == [TOKENS.mean, PASTED]
    assert all(len(images) == 8 for images in first.values())
    assert all(torch.equal(first[label], again[label]) for label in first)
    hidden, others = (
        (rows['masked input'] != rows['original']).any(dim=1) for rows in (first, other)
    )
    assert not torch.equal(first['original'], other['original'])
    assert not torch.equal(hidden, others)
    # 6 of 16 patches; a pixel may have the grey of what is hidden.
    assert hidden.float().mean() == pytest.approx(6 / 16, abs=0.01)
    for name in ('neighbours.png', 'features.npz'):
        assert (run[2] / name).is_file()
    vectors = np.load(run[2] / 'features.npz')
    assert [Path(file).name for file in vectors['files']] == [f'{n:02}.png' for n in range(12)]
