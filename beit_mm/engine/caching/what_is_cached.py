"""What tells one token cache from another, and where a config says so."""

import hashlib
import inspect
from collections.abc import MutableMapping
from importlib import metadata
from typing import Any

import cv2
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import nn

from ...component import ConfigError
from ...datasets import CacheError

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
    # As if it had not been said.
    default = inspect.signature(type(generator)).parameters.get('precision')
    if default is not None and settings.get('precision') == default.default:
        del settings['precision']
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
    versions: dict[str, str | None] = dict(opencv=cv2.__version__)
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def photo_files(dataset: Any) -> tuple[list[str], list[int | None]]:
    """Files of a data set in its order.

    Returns:
        Names, and the sizes in bytes of those that lie in other files, such as shards; else None.

    Raises:
        CacheError: If it is no data set of mmengine's kind with a file for each sample.
    """
    try:
        infos = (dataset.get_data_info(index) for index in range(len(dataset)))
        files = [(i['img_path'], i.get('num_bytes'), i['sample_idx']) for i in infos]
    except (AttributeError, KeyError) as error:
        raise CacheError(
            f'a token cache takes a data set with img_path of each sample, which '
            f'{type(dataset).__name__} has not ({error})'
        ) from error
    if [index for *_, index in files] != list(range(len(files))):
        raise CacheError(f'a token cache takes a single data set, not {type(dataset).__name__}')
    return [path for path, *_ in files], [size for _, size, _ in files]


def view_steps(cfg: Config) -> list[MutableMapping]:
    """The steps of the training pipeline that make the two views."""
    pipeline = cfg.train_dataloader.dataset.get('pipeline', [])
    return [step for step in pipeline if str(step.type).rpartition('.')[2] == 'LoadTwoViews']


def views_of(cfg: Config) -> MutableMapping:
    """The step of the training pipeline that makes the two views.

    Raises:
        ConfigError: If there is not exactly one.
    """
    steps = view_steps(cfg)
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


def build_generator(cfg: Config) -> nn.Module:
    """The target generator of a config, in eval mode.

    Raises:
        ConfigError: If its weights are not of a file, or the preprocessor would change tokens.
    """
    _check_preprocessor(cfg)
    generator = cfg.model.target_generator
    if not generator.get('checkpoint'):
        raise ConfigError(
            f'model.target_generator.checkpoint is {generator.get("checkpoint")!r}; a token cache '
            'takes the tokenizer of a file or URL'
        )
    return MODELS.build(generator).eval()
