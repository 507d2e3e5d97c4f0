"""Which tokenizer a pre-training takes: one of its own, another run's, or OpenAI's."""

from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from ..component import ConfigError
from .choices import Sizes, values_for_tokenizer
from .how_to_read import HowToRead

# Pixels of a patch that OpenAI's tokenizer of stride 8 has a token for, at half the size.
OPENAI_PATCH = 16


class Tokenizer(NamedTuple):
    """Weights, and the config of the network that they are of."""

    file: Path
    settings: dict[str, Any]


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
    path = Path(given).expanduser()
    file = path / 'tokenizer.pth' if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(f'--tokenizer is {given}: there is no file {file}')
    beside = file.with_name('tokenizer.py')
    if beside.is_file():
        model = Config.fromfile(beside).model.to_dict()
        settings = {k: v for k, v in model.items() if k not in ('_scope_', 'data_preprocessor')}
        patch = 2 * 2 ** (settings['num_groups'] - 1)
    else:
        settings, patch = dict(type='beit_mm.DiscreteVAE', vocab_size=8192), OPENAI_PATCH
    if patch != sizes.patch_size:
        raise ConfigError(
            f'--tokenizer {given} has a token for {patch} pixels, and the patches of images of '
            f'{sizes.image_size} pixels are {sizes.patch_size} wide: give --size '
            f'{224 if patch == 16 else 128} or leave --tokenizer out'
        )
    return Tokenizer(file.resolve(), settings)
