"""Compute the tokens of a training set, once."""

import os
from pathlib import Path
from typing import Any

import cv2
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DATASETS, MODELS, TRANSFORMS, DefaultScope
from mmengine.utils import import_modules_from_strings
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ...datasets import LoadTwoViews, TokenCache
from ...datasets.loader_workers import outlive_group_signals
from ...datasets.sources.photo_source import photo_source
from ...datasets.token_cache import describe_photos
from .what_is_cached import (
    build_generator,
    describe_tokenizer,
    describe_versions,
    photo_files,
    views_of,
)


class SeededViews(Dataset):
    """The second views of photos: (views, 3, h, w) uint8 each.

    Args:
        photos: The data set, without a pipeline.
        transform: With ``num_views``.
    """

    def __init__(self, photos: Any, transform: LoadTwoViews) -> None:
        self.photos, self.transform = photos, transform
        self.num_views = transform.num_views or 1

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> Tensor:
        source = photo_source(self.photos, index)
        try:
            views = [
                self.transform.load(source, self.transform.view_rng(index, view), which=(1,))[0][0]
                for view in range(self.num_views)
            ]
        except ValueError as error:
            path = self.photos.get_data_info(index)['img_path']
            reason = getattr(error, 'reason', error)
            raise ValueError(
                f'{path} cannot be decoded: {reason}; tools/check_images.py lists such photos for '
                'exclude of the data set'
            ) from error
        return torch.stack(views)


def write_token_cache(
    cfg: Config, folder: str | Path, num_views: int, seed: int = 0, photos_per_shard: int = 8192
) -> TokenCache:
    """Compute what is missing of a token cache for the training set of a pre-training config.

    Processes share the work by the environment variables RANK and WORLD_SIZE, without talking to
    each other: every shard belongs to one of them.

    Args:
        cfg: A whole config.
        folder: Of the cache, new or to be gone on with.
        num_views: Views of each photo.
        seed: Which views these are.
        photos_per_shard: Photos of which a file holds the tokens.

    Raises:
        CacheError: If the folder holds a cache of something else.
        ConfigError: If the config is none to cache tokens for.
        ValueError: If a number is none, or a file is no image.
    """
    rank, world = (int(os.environ.get(name, d)) for name, d in (('RANK', 0), ('WORLD_SIZE', 1)))
    import_modules_from_strings(**cfg.get('custom_imports', dict(imports=['beit_mm'])))
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        transform = TRANSFORMS.build({**views_of(cfg), 'num_views': num_views, 'seed': seed})
        photos = DATASETS.build({**cfg.train_dataloader.dataset, 'pipeline': []})
        compute = _Compute(build_generator(cfg), MODELS.build(cfg.model.data_preprocessor))
    cache = TokenCache.create(
        folder,
        dict(
            dataset=describe_photos(*photo_files(photos)),
            views=transform.settings,
            tokenizer=describe_tokenizer(cfg, compute.generator),
            grid=[edge // compute.generator.stride for edge in transform.sizes[1]],
            photos_per_shard=photos_per_shard,
            versions=describe_versions(),
        ),
    )
    # By number, whatever the others have finished meanwhile.
    for shard in (k for k in cache.missing() if k % world == rank):
        batches = DataLoader(
            SeededViews(photos, transform),
            batch_size=max(1, cfg.train_dataloader.get('batch_size', 1) // num_views),
            sampler=cache.photos_of(shard),
            num_workers=cfg.train_dataloader.get('num_workers', 0),
            worker_init_fn=_begin_worker,
        )
        cache.write(shard, torch.cat([compute(batch) for batch in batches]).numpy())
        print_log(f'{folder}: shard {shard + 1} of {cache.num_shards} written', 'current')
    return cache


def _begin_worker(number: int) -> None:
    """One thread a loader worker, torch sees to its own; it ends with this process."""
    cv2.setNumThreads(0)
    outlive_group_signals(number)


def own_device() -> str:
    """A GPU among those that this process sees, which under Slurm may be its own alone."""
    if not torch.cuda.is_available():
        return 'cpu'
    return f'cuda:{int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count()}'


class _Compute:
    """Tokens of a batch of views, as training computes them."""

    def __init__(self, generator: nn.Module, preprocessor: nn.Module) -> None:
        device = own_device()
        self.generator, self.preprocessor = generator.to(device), preprocessor.to(device)

    @torch.no_grad()
    def __call__(self, views: Tensor) -> Tensor:
        """(photos, views, 3, H, W) uint8 -> (photos, views, h, w) int64 on the CPU."""
        flat = views.flatten(0, 1)
        data = self.preprocessor(dict(inputs=[flat[:1], flat], data_samples=None))
        return self.generator(data['inputs'][1]).cpu().unflatten(0, views.shape[:2])
