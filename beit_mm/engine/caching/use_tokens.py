"""Train on tokens that were computed before."""

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import TRANSFORMS, DefaultScope
from mmengine.runner import Runner

from ...datasets import TokenCache
from ...datasets.token_cache import describe_photos
from ...registry import HOOKS
from .what_is_cached import (
    build_generator,
    describe_tokenizer,
    describe_versions,
    photo_files,
    views_of,
)


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
        step, generator = views_of(cfg), build_generator(cfg)
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
        cache.check(dict(dataset=describe_photos(*photo_files(runner.train_dataloader.dataset))))
        made_by = cache.manifest.get('versions')
        note = '' if made_by == versions else f'; made by {made_by}, here are {versions}'
        runner.logger.info(
            f'tokens of {cache.num_views} views of {cache.num_photos} photos from '
            f'{cache.folder}{note}'
        )
