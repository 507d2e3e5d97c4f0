"""Computing a token cache, and training on one."""

import hashlib
import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

import cv2
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import DATASETS, MODELS, TRANSFORMS, DefaultScope
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ..datasets import CacheError, LoadTwoViews, TokenCache
from ..datasets.load_views import read_file
from ..datasets.token_cache import describe_photos
from ..registry import HOOKS
from .config_check import ConfigError

# What tokens depend on by a grey level, or a token here and there.
LIBRARIES = ('torch', 'numpy', 'pillow', 'simplejpeg')


def describe_tokenizer(cfg: Config, generator: nn.Module) -> dict:
    """What tells one tokenizer from another: weights, settings, and what images it is given."""
    digest = hashlib.sha256()
    for name, tensor in sorted(generator.state_dict().items()):
        # Tokens do not depend on the decoder, whose weights nobody has loaded.
        if name.startswith('tokenizer.decoder.'):
            continue
        digest.update(f'{name} {tuple(tensor.shape)} {tensor.dtype}\n'.encode())
        digest.update(
            tensor.detach().cpu().flatten().contiguous().view(torch.uint8).numpy().tobytes()
        )
    settings = cfg.model.target_generator.to_dict()
    for name in ('with_decoder', 'decoder_input'):
        settings.get('tokenizer', {}).pop(name, None)
    if settings.get('precision') == 'float32':
        del settings['precision']  # the default
    # Where the weights come from is not what they are; to compile is not to compute otherwise.
    left_out = ('type', 'checkpoint', 'compile')
    preprocessor = cfg.model.data_preprocessor
    return dict(
        type=type(generator).__name__,
        weights=digest.hexdigest(),
        settings={name: value for name, value in settings.items() if name not in left_out},
        vocab_size=generator.vocab_size,
        mean=list(preprocessor.second_mean),
        std=list(preprocessor.second_std),
    )


def describe_versions() -> dict[str, str | None]:
    """Versions of the libraries that pixels and tokens pass through."""
    versions = dict(opencv=cv2.__version__)
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def photo_paths(dataset: Dataset) -> list[str]:
    """Files of a data set in its order.

    Raises:
        CacheError: If it is no data set of mmengine's kind with a file for each sample.
    """
    try:
        infos = (dataset.get_data_info(index) for index in range(len(dataset)))
        paths = [(info['img_path'], info['sample_idx']) for info in infos]
    except (AttributeError, KeyError) as error:
        raise CacheError(
            f'a token cache takes a data set with img_path of each sample, which '
            f'{type(dataset).__name__} has not ({error})'
        ) from error
    if [index for _, index in paths] != list(range(len(paths))):
        raise CacheError(f'a token cache takes a single data set, not {type(dataset).__name__}')
    return [path for path, _ in paths]


def _view_steps(cfg: Config) -> list[Mapping]:
    """The steps of the training pipeline that make the two views."""
    pipeline = cfg.train_dataloader.dataset.get('pipeline', [])
    return [step for step in pipeline if str(step.type).rpartition('.')[2] == 'LoadTwoViews']


def _views(cfg: Config) -> Mapping:
    steps = _view_steps(cfg)
    if len(steps) != 1:
        raise ConfigError(
            f'train_dataloader.dataset.pipeline has {len(steps)} steps of type '
            "'beit_mm.LoadTwoViews'; a token cache takes one"
        )
    return steps[0]


def _check_preprocessor(cfg: Config) -> None:
    kind = str((cfg.model.get('data_preprocessor') or {}).get('type'))
    if kind.rpartition('.')[2] != 'TwoViewDataPreprocessor':
        raise ConfigError(
            f'model.data_preprocessor.type is {kind!r}; a token cache takes '
            "'beit_mm.TwoViewDataPreprocessor', which leaves tokens as they are"
        )


def _build_generator(cfg: Config) -> nn.Module:
    _check_preprocessor(cfg)
    generator = cfg.model.target_generator
    if not generator.get('checkpoint'):
        raise ConfigError(
            f'model.target_generator.checkpoint is {generator.get("checkpoint")!r}; a token cache '
            'takes the tokenizer of a file or URL'
        )
    return MODELS.build(generator).eval()


class SeededViews(Dataset):
    """The second views of photos: (views, 3, h, w) uint8 each.

    Args:
        paths: Files.
        transform: With ``num_views``.
    """

    def __init__(self, paths: list[str], transform: LoadTwoViews) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        path = self.paths[index]
        data = read_file(path)
        try:
            views = [
                self.transform.load(data, self.transform.view_rng(index, view), which=(1,))[0][0]
                for view in range(self.transform.num_views)
            ]
        except ValueError as error:
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
        transform = TRANSFORMS.build({**_views(cfg), 'num_views': num_views, 'seed': seed})
        paths = photo_paths(DATASETS.build({**cfg.train_dataloader.dataset, 'pipeline': []}))
        compute = _Compute(_build_generator(cfg), MODELS.build(cfg.model.data_preprocessor))
    cache = TokenCache.create(
        folder,
        dict(
            dataset=describe_photos(paths),
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
            SeededViews(paths, transform),
            batch_size=max(1, cfg.train_dataloader.get('batch_size', 1) // num_views),
            sampler=cache.photos_of(shard),
            num_workers=cfg.train_dataloader.get('num_workers', 0),
            worker_init_fn=_leave_cores_to_others,
        )
        cache.write(shard, torch.cat([compute(batch) for batch in batches]).numpy())
        print_log(f'{folder}: shard {shard + 1} of {cache.num_shards} written', 'current')
    return cache


def _leave_cores_to_others(_: int) -> None:
    """One thread a loader worker; torch sees to its own."""
    cv2.setNumThreads(0)


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


def use_token_cache(cfg: Config) -> None:
    """Turn a pre-training config with ``token_cache`` into one that reads its tokens from there.

    Does nothing to a config without that key.

    Raises:
        CacheError: If the cache is not whole, or of other views or another tokenizer.
        ConfigError: If the config is none that a cache can serve.
    """
    folder = cfg.get('token_cache')
    if not folder:
        return
    cache = TokenCache(folder)
    cache.check_complete()
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        step, generator = _views(cfg), _build_generator(cfg)
    cache.check(dict(tokenizer=describe_tokenizer(cfg, generator)))
    step['token_cache'] = str(folder)
    TRANSFORMS.build(step)
    validates = cfg.get('val_dataloader') is not None
    cfg.model.target_generator = dict(
        type='beit_mm.CachedTargetGenerator',
        vocab_size=generator.vocab_size,
        generator=cfg.model.target_generator if validates else None,
    )
    hooks = list(cfg.get('custom_hooks') or [])
    cfg.custom_hooks = [*hooks, dict(type='beit_mm.TokenCacheHook', token_cache=str(folder))]


@HOOKS.register_module()
class TokenCacheHook(Hook):
    """Hold a token cache against the data set before training starts.

    Args:
        token_cache: Folder of the cache.
    """

    def __init__(self, token_cache: str) -> None:
        self.cache = TokenCache(token_cache)

    def before_train(self, runner: Runner) -> None:
        """Compare the photos.

        Raises:
            CacheError: If the tokens are of other photos.
        """
        cache, versions = self.cache, describe_versions()
        cache.check(dict(dataset=describe_photos(photo_paths(runner.train_dataloader.dataset))))
        made_by = cache.manifest.get('versions')
        note = '' if made_by == versions else f'; made by {made_by}, here are {versions}'
        runner.logger.info(
            f'tokens of {cache.num_views} views of {cache.num_photos} photos from '
            f'{cache.folder}{note}'
        )
