"""Principal components of the training images' patches, fitted once, before training."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.registry import DATASETS, DefaultScope
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from ...component import ConfigError
from ...registry import MODELS


def fit_components(batches: Iterable[Tensor]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and principal components of patches, which need not fit in memory together.

    Args:
        batches: (..., n) float each.

    Returns:
        The mean (n,); the components (n, n), a column each, that of the largest variance first;
        the share of the variance that each has (n,). All float32.

    Raises:
        ValueError: If there are fewer than two patches.
    """
    count = 0
    total: Any = 0.0
    products: Any = 0.0
    for batch in batches:
        rows = batch.flatten(0, -2).double().cpu()
        count += len(rows)
        total = total + rows.sum(dim=0)
        products = products + rows.T @ rows
    if count < 2:
        raise ValueError(f'there are {count} patches; components take two or more')
    mean = total / count
    variances, components = torch.linalg.eigh(products / count - torch.outer(mean, mean))
    variances = variances.flip(0).clamp(min=0)
    shares = variances / variances.sum().clamp(min=torch.finfo(variances.dtype).tiny)
    return mean.float().numpy(), components.flip(1).float().numpy(), shares.float().numpy()


def write_patch_components(cfg: Config, out: str | Path, num_images: int) -> str:
    """Fit the components that ``model.target_generator`` of a config takes, and write them.

    Args:
        cfg: Config of a pre-training with a :class:`beit_mm.models.PCATargetGenerator`.
        out: The ``.npz`` file to write.
        num_images: How many views of the training images are looked at, each once at most.

    Returns:
        What was done, in a line.

    Raises:
        ConfigError: If the config has another target generator.
    """
    settings = cfg.model.get('target_generator') or {}
    if settings.get('type') != 'beit_mm.PCATargetGenerator':
        raise ConfigError(
            f'model.target_generator is {settings.get("type")}; it must be '
            'beit_mm.PCATargetGenerator, whose components are fitted here'
        )
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        generator: Any = MODELS.build({**settings, 'checkpoint': None})
        preprocessor: Any = MODELS.build(cfg.model.data_preprocessor)
        dataset: Any = DATASETS.build(cfg.train_dataloader.dataset)
    chosen = np.random.default_rng(0).permutation(len(dataset))[:num_images].tolist()
    loader = DataLoader(Subset(dataset, chosen), batch_size=32, collate_fn=default_collate)
    views = (preprocessor(batch, False)['inputs'][-1] for batch in loader)
    mean, components, shares = fit_components(map(generator.pixels, views))
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    kept = generator.num_values
    with Path(out).open('wb') as file:
        np.savez(file, mean=mean, components=components[:, :kept], shares=shares)
    return f'{len(chosen)} views; {kept} components hold {shares[:kept].sum():.1%} of the variance'
