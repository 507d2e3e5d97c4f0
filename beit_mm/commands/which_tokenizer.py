"""Which tokenizer a pre-training takes: one of its own, another run's, or OpenAI's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from ..checkpoints import read_checkpoint
from ..component import ConfigError
from ..engine.running.resumed_changes import saved_settings
from .choices import Sizes, values_for_tokenizer
from .how_to_read import HowToRead


class Tokenizer(NamedTuple):
    """Weights, and the config of the network that they are of."""

    file: Path
    settings: dict[str, Any]

    @property
    def stride(self) -> int:
        """Pixels of the second view that a token stands for; of OpenAI's 8."""
        return 2 ** (self.settings.get('num_groups', 4) - 1)


def own_tokenizer(sizes: Sizes, how: HowToRead, file: Path) -> Tokenizer:
    """The one that a pre-training trains first."""
    values = values_for_tokenizer(sizes)
    return Tokenizer(
        file,
        dict(
            type='beit_mm.DiscreteVAE',
            quantizer='vector',
            vocab_size=values['vocab_size'],
            num_groups=values['num_groups'],
            blocks_per_group=1,
            hidden=values['hidden'],
            decoder_input=values['hidden'],
            **of_bands(how),
        ),
    )


def of_bands(how: HowToRead) -> dict[str, Any]:
    """Settings of a network for images that are read so; none for photos."""
    if how.bands is None:
        return {}
    names = None if isinstance(how.bands, int) else how.bands
    return dict(in_channels=how.reading.num_bands, bands=names)


def tokenizer_of(given: str | Path, sizes: Sizes) -> Tokenizer:
    """The tokenizer that a user names.

    Args:
        given: Folder of another pre-training or a file in it, or OpenAI's ``encoder.pkl``.
        sizes: Of this pre-training.

    Raises:
        ConfigError: If there is none, or it does not fit the patches.
    """
    tokenizer = named_tokenizer(given)
    patch = 2 * tokenizer.stride
    if patch != sizes.patch_size:
        raise ConfigError(
            f'--tokenizer {given} has a token for {patch} pixels, and the patches of images of '
            f'{sizes.image_size} pixels are {sizes.patch_size} wide: give --size '
            f'{224 if patch == 16 else 128} or leave --tokenizer out'
        )
    return tokenizer


def named_tokenizer(given: str | Path) -> Tokenizer:
    """The tokenizer that a user names, whatever it is for.

    Args:
        given: Folder of a pre-training or a file in it, a checkpoint of a tokenizer's training or
            of a pre-training, or OpenAI's ``encoder.pkl``.

    Raises:
        ConfigError: If there is none.
    """
    path = Path(given).expanduser()
    file = path / 'tokenizer.pth' if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(f'--tokenizer is {given}: there is no file {file}')
    beside = file.with_name('tokenizer.py')
    if beside.is_file():
        model = Config.fromfile(beside).model.to_dict()
    else:
        model = dict(run_settings(read_checkpoint(file)).get('model') or {})
        model = (model.get('target_generator') or {}).get('tokenizer') or model
    if 'num_groups' not in model:
        # DALL-E's, which is the default.
        model = dict(type='beit_mm.DiscreteVAE', vocab_size=8192)
    settings = {k: v for k, v in model.items() if k not in ('_scope_', 'data_preprocessor')}
    return Tokenizer(file.resolve(), settings)


def run_settings(content: Any) -> dict[str, Any]:
    """The config of the run that wrote a checkpoint, as far as it holds one; none of it is run.

    Args:
        content: What :func:`beit_mm.checkpoints.read_checkpoint` gave.
    """
    meta = content.get('meta') if isinstance(content, Mapping) else None
    text = meta.get('cfg') if isinstance(meta, Mapping) else None
    try:
        return saved_settings(text) if isinstance(text, str) else {}
    except SyntaxError:
        return {}
