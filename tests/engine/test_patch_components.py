"""Principal components of patches: against NumPy's decomposition, and as targets of a config."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from beit_mm.engine import ConfigError, write_patch_components
from beit_mm.engine.caching.write_components import fit_components
from beit_mm.models import PCATargetGenerator, PixelTargetGenerator

ROOT = Path(__file__).parent.parent.parent


def test_the_components_are_those_of_a_singular_value_decomposition(tmp_path):
    rng = np.random.default_rng(0)
    patches = rng.normal(3, 2, (90, 12)) @ rng.normal(0, 1, (12, 12))
    batches = [torch.from_numpy(part).view(-1, 3, 12) for part in np.split(patches, [30, 60])]
    mean, components, shares = fit_components(batches)
    np.testing.assert_allclose(mean, patches.mean(axis=0), rtol=1e-5, atol=1e-5)
    _, values, rows = np.linalg.svd(patches - patches.mean(axis=0))
    np.testing.assert_allclose(shares, values**2 / (values**2).sum(), rtol=1e-4, atol=1e-7)
    # But for the sign of each.
    np.testing.assert_allclose(np.abs((components * rows.T).sum(axis=0)), 1, rtol=1e-4)
    with pytest.raises(ValueError, match='there are 0 patches'):
        fit_components([])


def test_all_components_give_the_image_back_and_the_first_the_nearest(tmp_path):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(8, 3, 8, 8, generator=generator)
    pixels = PixelTargetGenerator(patch_size=4)
    mean, components, _ = fit_components([pixels(images)])
    np.savez(tmp_path / 'a.npz', mean=mean, components=components)
    whole = PCATargetGenerator(str(tmp_path / 'a.npz'), num_values=48, patch_size=4)
    torch.testing.assert_close(whole.picture(whole(images)), images, rtol=0, atol=1e-4)
    few = PCATargetGenerator(str(tmp_path / 'a.npz'), num_values=7, patch_size=4)
    assert few(images).shape == (8, 2, 2, 7)
    torch.testing.assert_close(few(images), whole(images)[..., :7])
    with torch.autocast('cpu', torch.bfloat16):
        in_mixed_precision = whole(images)
    torch.testing.assert_close(in_mixed_precision, whole(images), rtol=0, atol=0)
    with pytest.raises(ValueError, match=r'has components \(48, 48\) .* takes \(192, 48\)'):
        PCATargetGenerator(str(tmp_path / 'a.npz'), num_values=48, patch_size=8)


def test_from_a_config_to_its_file(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / 'train/a').mkdir(parents=True)
    for index in range(6):
        pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f'train/a/{index}.png')
    cfg = Config.fromfile(ROOT / 'configs/mae/principal_components.py')
    cfg.train_dataloader.dataset.data_root = str(tmp_path)
    done = write_patch_components(cfg, tmp_path / 'out/components.npz', num_images=5)
    assert done.startswith('5 views; 96 components hold ')
    generator = PCATargetGenerator(str(tmp_path / 'out/components.npz'))
    norms = generator.components.T @ generator.components
    torch.testing.assert_close(norms, torch.eye(96), rtol=0, atol=1e-4)
    cfg.model.target_generator.type = 'beit_mm.PixelTargetGenerator'
    with pytest.raises(ConfigError, match=r'it must be beit_mm\.PCATargetGenerator'):
        write_patch_components(cfg, tmp_path / 'other.npz', num_images=5)
