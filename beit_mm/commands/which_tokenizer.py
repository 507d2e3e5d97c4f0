"""Which tokenizer a pre-training takes: one of its own, another run's, or OpenAI's."""

from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from ..checkpoints import load_tokenizer_state_dict
from ..component import ConfigError
from ..engine.running.whole_checkpoints import newest_whole
from ..models.discrete_vae import stride_of_groups
from ..models.tokenizer_shapes import settings_of_tokenizer
from .choices import Sizes, values_for_tokenizer
from .how_to_read import HowToRead
from .trained import PRETRAINED

# What a pre-training calls its own, and OpenAI the two halves of its.
OWN, ENCODER, DECODER = 'tokenizer.pth', 'encoder.pkl', 'decoder.pkl'


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
    """The tokenizer that a user names; of what size it is, its weights say.

    Args:
        given: See :func:`tokenizer_files`.
        sizes: Of this pre-training.

    Raises:
        ConfigError: If there is none, or it does not fit the patches.
        CheckpointError: If there is none in the file.
    """
    file = Path(tokenizer_files(given)[0])
    if not file.is_file():
        raise ConfigError(f'--tokenizer is {given}: there is no file {file}')
    known = settings_of_tokenizer(load_tokenizer_state_dict(file))
    patch = 2 * stride_of_groups(known['num_groups'])
    if patch != sizes.patch_size:
        raise ConfigError(
            f'--tokenizer {given} has a token for {patch} pixels, and the patches of images of '
            f'{sizes.image_size} pixels are {sizes.patch_size} wide: give --size '
            f'{224 if patch == 16 else 128} or leave --tokenizer out'
        )
    # Training does without the decoder, of whatever size it is. The bands are those of the images,
    # which the weights are fitted to.
    left_out = ('with_decoder', 'decoder_input', 'in_channels', 'bands')
    settings = {k: v for k, v in known.items() if v is not None and k not in left_out}
    return Tokenizer(file.resolve(), dict(type='beit_mm.DiscreteVAE', **settings))


def tokenizer_files(given: str | Path) -> list[str]:
    """Where the weights are of the tokenizer that a user names.

    Args:
        given: Folder of a pre-training or of the quickstart, work directory of a tokenizer's
            training, or a file or URL of weights: ours, OpenAI's ``encoder.pkl``, or MMPretrain's.

    Returns:
        A file, and OpenAI's ``decoder.pkl`` where it lies beside the encoder.

    Raises:
        ConfigError: If a folder holds none.
        CheckpointError: If all of its checkpoints are damaged.
    """
    path = Path(given).expanduser()
    if not path.is_dir():
        return with_its_decoder(path) if path.is_file() else [str(given)]
    if (path / OWN).is_file():
        return [str(path / OWN)]
    config = path / PRETRAINED[0]
    generator = Config.fromfile(config).model.target_generator if config.is_file() else {}
    # Of a run with another's tokenizer, whose own checkpoints have the encoder alone.
    if generator.get('checkpoint') and Path(generator['checkpoint']).is_file():
        return with_its_decoder(Path(generator['checkpoint']))
    newest = newest_whole(path, path)
    if newest is None:
        raise ConfigError(
            f'{given} holds no tokenizer: it has no {OWN}, as beit-mm pretrain --method beit '
            'leaves it when the tokenizer is trained, and no checkpoint'
        )
    return [str(newest)]


def with_its_decoder(file: Path) -> list[str]:
    """A file of a tokenizer, and the decoder beside it: OpenAI publishes them as two."""
    beside = file.with_name(DECODER)
    both = file.name == ENCODER and beside.is_file()
    return [str(file), str(beside)] if both else [str(file)]
