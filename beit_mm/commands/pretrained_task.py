"""A whole pre-training to look at: backbone, head, and the tokenizer that its targets are of."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import Tensor

from ..checkpoints import (
    MAE,
    CheckpointError,
    kind_of,
    known_layout,
    locate,
    network_in,
    read_checkpoint,
    read_config,
    take_tensors,
    take_weights,
    translate,
)
from ..checkpoints.run_settings import pipeline_in, run_settings
from ..component import ConfigError
from ..engine.checking.config_check import enter_scope
from ..engine.running.whole_checkpoints import newest_whole
from ..models import (
    DiscreteVAE,
    DVAETargetGenerator,
    MaskedImageModeling,
    MIMHead,
    load,
    load_autoencoder,
)
from ..models.tokenizer_shapes import load_tokenizer
from .features import Extractor
from .how_to_read import HowToRead, how_of_run
from .starting_weights import check_size, images_of, size_of_weights
from .trained import PRETRAINED, pretrainings_in
from .which_tokenizer import DECODER, ENCODER, tokenizer_files, with_its_decoder

HEAD = 'head.classifier.weight'
TASKS = ('MaskedImageModeling', 'MaskedAutoencoder', 'MaskedPatchPrediction')
INSTEAD = (
    'give a pre-training: a folder of beit-mm pretrain, a work directory of tools/train.py, or a '
    "checkpoint with the head of its tokens, such as Microsoft's beit_base_patch16_224_pt22k.pth, "
    "or with MAE's decoder, such as mae_visualize_vit_large.pth"
)
NO_TOKENS = 'the targets of this pre-training are no visual tokens: leave --tokenizer out'


class PretrainedTask(NamedTuple):
    """A pre-training with its weights, in eval mode.

    Attributes:
        task: With ``backbone``, ``target_generator`` and ``outputs``, such as
            ``MaskedImageModeling``.
        tokenizer: With its decoder; None where there is none, or the targets are no tokens.
        lacks: Why there is no decoder, where there should be one.
        take: Brings images into the size and the range of the backbone.
        one_view: Whether targets are of the view that the backbone is given, normalised as it is.
        unsure: Whether nothing says if the pixels of its targets are normalised patch by patch.
    """

    task: Any
    tokenizer: DiscreteVAE | None
    lacks: str
    take: Extractor
    one_view: bool = False
    unsure: bool = False


def pretrained_task(
    given: str | Path, tokenizer: str | Path | None = None, size: int | None = None
) -> PretrainedTask:
    """Read what the user names.

    Args:
        given: Folder of ``beit-mm pretrain`` or of the quickstart, a work directory, or a
            checkpoint of a pre-training in any layout.
        tokenizer: Of the targets, where the weights do not say or it has moved.
        size: Height and width of an image; without, that of the weights.

    Raises:
        ConfigError: If it is no pre-training, or its targets are not known.
        CheckpointError: If weights cannot be read.
    """
    path = _checkpoint_of(Path(given).expanduser())
    settings: Mapping[str, Any] = {}
    if path is not None:
        content = read_checkpoint(path)
        settings = run_settings(content) or _config_beside(path)
    if path is not None and settings.get('model'):
        found = _of_run(settings, take_tensors(content, str(path)), path, tokenizer)
    else:
        found = _of_weights(str(path or given), tokenizer)
    check_size(size, found.task.backbone.patch_size[0])
    size = size or size_of_weights(found.task.backbone)
    return found._replace(take=found.take._replace(size=size))


def _checkpoint_of(path: Path) -> Path | None:
    """The file that the weights of a folder of this project's are in, or a file itself."""
    if not path.is_dir():
        return path if path.is_file() else None
    if (path / PRETRAINED[1]).is_file():
        return path / PRETRAINED[1]
    for folder in pretrainings_in(path):
        if (folder / 'last_checkpoint').is_file():
            return newest_whole(folder, folder)
    return None


def _config_beside(path: Path) -> dict[str, Any]:
    """The config of bare weights that ``beit-mm pretrain`` has left."""
    config = path.with_name(PRETRAINED[0])
    if path.name != PRETRAINED[1] or not config.is_file():
        return {}
    return Config.fromfile(config).to_dict()


def _of_run(
    settings: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    path: Path,
    given: str | Path | None,
) -> PretrainedTask:
    """By the config of a run."""
    model = dict(settings['model'])
    if not str(model.get('type')).endswith(TASKS):
        raise ConfigError(f'{path} is of a {model.get("type")}, and no pre-training; {INSTEAD}')
    enter_scope(settings.get('default_scope') or 'mmpretrain')
    generator = dict(model['target_generator'])
    if 'CachedTargetGenerator' in generator['type']:
        # What computes the tokens of images that are in no cache, those of validation.
        generator = dict(generator.get('generator') or {})
        old, new = 'target_generator.generator.', 'target_generator.'
        weights = {f'{new}{n[len(old):]}' if n.startswith(old) else n: w
                   for n, w in weights.items()}  # fmt: skip
    tokens = Tokens(None, None, '')
    if given is not None:
        weights = {n: w for n, w in weights.items() if not n.startswith('target_generator.')}
        tokens = _tokens_of(given, model['head'].get('vocab_size'))
    elif not generator:
        raise ConfigError(
            f'{path} has read its visual tokens from a cache: give the tokenizer that made them, '
            '--tokenizer'
        )
    elif 'tokenizer' in generator:
        tokens = _tokens_of_run(generator, weights, path)
    backbone = {k: v for k, v in model['backbone'].items() if k != 'init_cfg'}
    targets = tokens.generator or generator
    # Other masks may be drawn than those of the training.
    head = dict(model['head'], num_masked=None)
    parts = dict(backbone=backbone, target_generator=targets, head=head)
    task: Any = MODELS.build({**model, **parts})
    for name, own in task.state_dict().items():
        if name in weights and weights[name].shape != own.shape:
            raise CheckpointError(
                f'{path} does not fit its config: {name} is {tuple(weights[name].shape)} there, '
                f'and {tuple(own.shape)} by the config'
            )
    missing, unexpected = task.load_state_dict(weights, strict=False)
    lost = [name for name in missing if not name.startswith('target_generator.')]
    if lost or unexpected:
        raise CheckpointError(
            f'{path} does not fit its config: it lacks {lost[:3]}, and has {unexpected[:3]} too'
        )
    one_view = any('second_size' in s and s['second_size'] is None for s in pipeline_in(settings))
    return _ready(task, tokens, how_of_run(settings))._replace(one_view=one_view)


class Tokens(NamedTuple):
    """Of a pre-training: what makes its tokens, and what makes images of them.

    Attributes:
        generator: None of a run whose targets are no visual tokens.
        tokenizer, lacks: See :class:`PretrainedTask`.
    """

    generator: Any
    tokenizer: DiscreteVAE | None
    lacks: str


def _tokens_of_run(
    generator: Mapping[str, Any], weights: Mapping[str, Tensor], path: Path
) -> Tokens:
    """By the config of a run, whose checkpoint holds the encoder."""
    there = any(name.startswith('target_generator.tokenizer.encoder.') for name in weights)
    file = str(generator.get('checkpoint') or '')
    if '://' not in file and not Path(file).is_file():
        # The folder has been moved.
        above = (parent / Path(file).name for parent in path.resolve().parents[:4])
        file = next((str(each) for each in above if file and each.is_file()), file)
    lacks = f'there is no file {file}'
    if Path(file).is_file():
        return _read_tokens(with_its_decoder(Path(file)))
    if not there:
        raise ConfigError(
            f'{path} holds no tokenizer, and {lacks}: give the one of its pre-training, --tokenizer'
        )
    if '://' in file:
        lacks = f'{file.rpartition("/")[2]} is an encoder alone'
    return Tokens(DVAETargetGenerator(dict(generator['tokenizer'])), None, lacks)


def _tokens_of(given: str | Path, vocab_size: int | None) -> Tokens:
    """Those of the tokenizer that a user names.

    Args:
        given: See :func:`beit_mm.commands.which_tokenizer.tokenizer_files`.
        vocab_size: Of the head.

    Raises:
        ConfigError: If the head predicts others.
    """
    if vocab_size is None:
        raise ConfigError(NO_TOKENS)
    tokens = _read_tokens(tokenizer_files(given))
    known = tokens.generator.tokenizer.vocab_size
    if known != vocab_size:
        raise ConfigError(
            f'--tokenizer is {given}, which has {known} visual tokens, and the head predicts '
            f'{vocab_size}: give the tokenizer that the pre-training had'
        )
    return tokens


def _read_tokens(files: Sequence[str]) -> Tokens:
    tokenizer = load_tokenizer(*files)
    lacks = ''
    if tokenizer.decoder is None:
        wanted = f', and no {DECODER} is beside it' if Path(files[0]).name == ENCODER else ''
        lacks = f'{files[0]} is an encoder alone{wanted}'
    return Tokens(DVAETargetGenerator(tokenizer), None if lacks else tokenizer, lacks)


def _of_weights(given: str, tokenizer: str | Path | None) -> PretrainedTask:
    """By weights alone, in whatever layout."""
    path = locate(given)
    content = read_checkpoint(path)
    weights = take_weights(content, '', given)
    if kind_of(weights) == MAE:
        if tokenizer is not None:
            raise ConfigError(NO_TOKENS)
        enter_scope('mmengine')
        told = {**network_in(path, content), **read_config(path)}
        normalize = told.get('norm_pix_loss')
        autoencoder = load_autoencoder(given, normalize=bool(normalize))
        how = images_of(given, autoencoder.backbone)[0]
        ready = _ready(autoencoder, Tokens(None, None, ''), how)
        return ready._replace(one_view=True, unsure=normalize is None)
    ours = translate(weights, known_layout(weights), 'beit_mm').state_dict
    if HEAD not in ours:
        raise ConfigError(
            f'{given} has neither a head for visual tokens nor a decoder, so it fills in nothing; '
            f'{INSTEAD}'
        )
    if 'backbone.mask_token' not in ours:
        raise ConfigError(f'{given} has no mask token, so it takes no masked image; {INSTEAD}')
    if tokenizer is None:
        raise ConfigError(
            f'{given} predicts {len(ours[HEAD])} visual tokens and does not hold their tokenizer: '
            "give --tokenizer, for Microsoft's weights OpenAI's encoder.pkl with decoder.pkl "
            'beside it'
        )
    enter_scope('mmengine')
    backbone = load(given, out_type='raw')
    head = MIMHead(backbone.embed_dims, len(ours[HEAD]))
    head.load_state_dict(
        {n.removeprefix('head.'): w for n, w in ours.items() if n.startswith('head.')}
    )
    tokens = _tokens_of(tokenizer, head.vocab_size)
    task = MaskedImageModeling(backbone, tokens.generator, head)
    return _ready(task, tokens, images_of(given, backbone)[0])


def _ready(task: Any, tokens: Tokens, how: HowToRead) -> PretrainedTask:
    task.eval()
    if torch.cuda.is_available():
        task.cuda()
        if tokens.tokenizer is not None:
            tokens.tokenizer.cuda()
    backbone = task.backbone
    take = Extractor(backbone, backbone.grid[0] * backbone.patch_size[0], how)
    return PretrainedTask(task, tokens.tokenizer, tokens.lacks, take)
