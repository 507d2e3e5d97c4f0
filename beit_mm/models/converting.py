"""Weights for other libraries: files with their names, and folders with their configs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.logging import print_log
from torch import Tensor

from ..checkpoints import (
    BEIT,
    LAYOUTS,
    MAE,
    OF_JAX,
    VIT,
    CheckpointError,
    convert_state_dict,
    detect_layout,
    kind_of,
    locate,
    network_in,
    read_about,
    read_checkpoint,
    read_config,
    read_mean_and_std,
    summarize,
    take_weights,
)
from ..checkpoints.folders import CONFIG, PREPROCESSOR
from ..checkpoints.writing import NPZ, WRAPPERS, write_weights, write_whole
from .loading import backbone_of
from .peer_configs import huggingface_config, preprocessor_config, timm_config
from .reading_shapes import decoder_settings_of, settings_of

# And, of JAX's layouts, .npz alone.
ENDINGS = ('.pth', '.safetensors')
# Layouts whose libraries read folders.
OF_FOLDERS = ('huggingface', 'timm')
# What timm's models have no place for, and would refuse a file for.
NOT_IN_TIMM = ('mask_token', 'lm_head.', 'decoder_')
# The same of transformers' ViT.
NOT_IN_VIT = ('embeddings.mask_token', 'vit.embeddings.mask_token')


class Conversion(NamedTuple):
    """What :func:`convert` did.

    Attributes:
        layout: That of the source, as :func:`beit_mm.checkpoints.detect_layout` names it.
        num_read: Tensors of the source.
        num_written: Tensors of the target.
    """

    layout: str
    num_read: int
    num_written: int


def convert(source: str | Path, target: str | Path, to: str, *, which: str = '') -> Conversion:
    """Write the weights of a BEiT, a ViT or an MAE as another library reads them.

    Args:
        source: What :func:`beit_mm.checkpoints.locate` finds, in any layout.
        target: A file that ends in .pth or .safetensors, or, for 'jax' and 'big_vision', in .npz;
            what the source says of its images (:func:`beit_mm.checkpoints.read_about`) is said
            there too, if the library keeps a place for it. For 'huggingface' and 'timm' also a
            folder, without an ending: ``config.json`` and ``model.safetensors``, which
            ``from_pretrained(folder)`` of transformers and
            ``timm.create_model('local-dir:folder', pretrained=True)`` read; and
            ``preprocessor_config.json``, if the source says how images are normalised. MAE's
            decoder goes along to transformers, MMPretrain and, as 'unilm', to the names of MAE's
            authors; timm has no place for it.
        to: One of :data:`beit_mm.checkpoints.LAYOUTS`.
        which: Of several sets of weights the one to take, such as 'ema' or 'teacher'; see
            :func:`beit_mm.checkpoints.load_state_dict`.

    Returns:
        What was found and written.

    Raises:
        FileNotFoundError: If the source is not there, or the folder of the target.
        CheckpointError: If the source holds no Vision Transformer, or one that ``to`` has no place
            for.
        ValueError: If ``to`` is no layout, or the target is of a form that it has not.
        ImportError: If a package is missing that fetches the source.
    """
    target = Path(target)
    check_target(target, to)
    path = locate(source)
    content = read_checkpoint(path)
    weights = take_weights(content, which, str(source))
    told = {**network_in(path, content), **read_config(path)}
    try:
        layout = detect_layout(weights)
        heads = None
        if to in OF_JAX:
            heads = settings_of(backbone_of(weights), told)['arch']['num_heads']
        converted = convert_state_dict(weights, to, heads)
        if to == 'timm':
            converted = _without(NOT_IN_TIMM, converted, 'timm')
        elif to == 'huggingface' and kind_of(weights) == VIT:
            converted = _without(NOT_IN_VIT, converted, "transformers' ViT")
        if target.suffix == NPZ:
            write_weights(target, converted, to)
        elif target.suffix in ENDINGS:
            bare = target.suffix == '.pth' and to not in WRAPPERS
            write_weights(target, converted, to, None if bare else read_about(path))
        else:
            _write_folder(target, weights, converted, to, path, told)
    except CheckpointError as error:
        raise CheckpointError(f'{source}: {error}') from None
    return Conversion(layout, len(weights), len(converted))


def check_target(target: Path, to: str) -> None:
    """Refuse what :func:`convert` cannot write.

    Raises:
        FileNotFoundError: If the folder that the target shall be in is not there.
        ValueError: If ``to`` is no layout, or the target is of a form that it has not.
    """
    if to not in LAYOUTS:
        raise ValueError(f'to={to!r} is none of {", ".join(LAYOUTS)}')
    is_folder = target.is_dir() or not target.suffix
    endings = (NPZ,) if to in OF_JAX else ENDINGS
    wanted = f'target {target} must end in {" or ".join(endings)}'
    if not is_folder and target.suffix not in endings:
        raise ValueError(f'{wanted}, to be read as {to}')
    if is_folder and (to not in OF_FOLDERS or target.is_file()):
        raise ValueError(f'{wanted}; folders are for {" and ".join(OF_FOLDERS)}')
    if not target.absolute().parent.is_dir():
        raise FileNotFoundError(f'{target}: there is no folder {target.parent}')


def _without(
    beginnings: tuple[str, ...], weights: Mapping[str, Tensor], library: str
) -> dict[str, Tensor]:
    left_out = [name for name in weights if name.startswith(beginnings)]
    if left_out:
        print_log(f'{library} has no place for {summarize(left_out)}', logger='current')
    return {name: tensor for name, tensor in weights.items() if name not in left_out}


def _write_folder(
    folder: Path,
    weights: Mapping[str, Tensor],
    converted: Mapping[str, Tensor],
    to: str,
    source: Path,
    told: Mapping[str, Any],
) -> None:
    ours = backbone_of(weights)
    kind = kind_of(weights)
    settings, is_beit = settings_of(ours, told), kind == BEIT
    of_decoder = decoder_settings_of(weights, told) if kind == MAE else None
    unknown = [] if settings['arch']['num_heads'] else ['how many heads there are']
    if of_decoder and not of_decoder['num_heads'] and to != 'timm':
        unknown.append('how many heads the decoder has')
    if settings['img_size'] is None:
        unknown.append('what size of image they are for')
    if unknown:
        raise CheckpointError(
            f'nothing says {" and ".join(unknown)}, which a folder must; write a file'
        )
    # Both kinds of tables may be there, which this project adds up.
    settings['use_shared_rel_pos_bias'] = 'rel_pos_bias.table' in ours
    images = _mean_and_std(source)
    contents = {}
    if to == 'huggingface' and len({*settings['img_size']}) + len({*settings['patch_size']}) > 2:
        # It takes the rows of its tables for columns, and divides by one number.
        raise CheckpointError(
            f"transformers' {'BEiT' if is_beit else 'ViT'} is for square images and patches alone, "
            f'these are for images of {settings["img_size"]} and patches of '
            f'{settings["patch_size"]}; write a file'
        )
    if to == 'timm':
        contents[CONFIG] = timm_config(settings, converted, images, is_beit)
    else:
        contents[CONFIG] = huggingface_config(settings, converted, of_decoder, is_beit)
        if of_decoder and 'norm_pix_loss' in told:
            contents[CONFIG]['norm_pix_loss'] = bool(told['norm_pix_loss'])
        if images is not None:
            size = settings['img_size']
            contents[PREPROCESSOR] = preprocessor_config(size, *images, is_beit)
    folder.mkdir(exist_ok=True)
    write_weights(folder / 'model.safetensors', converted, to)
    for name, content in contents.items():
        write_whole(folder / name, f'{json.dumps(content, indent=2)}\n'.encode())


def _mean_and_std(source: Path) -> tuple[list[float], list[float]] | None:
    """How images are normalised, for values in [0, 1], if the source says so."""
    images = read_about(source).get('images') or {}
    if images.get('mean') and images.get('std'):
        mean, std = ([value / 255 for value in images[name]] for name in ('mean', 'std'))
        return mean, std
    return read_mean_and_std(source)
