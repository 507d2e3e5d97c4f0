"""Weights for other libraries: files with their names, and folders with their configs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.logging import print_log
from torch import Tensor

from ..checkpoints import (
    LAYOUTS,
    CheckpointError,
    convert_state_dict,
    detect_layout,
    locate,
    read_about,
    read_checkpoint,
    read_config,
    read_mean_and_std,
    summarize,
    take_weights,
)
from ..checkpoints.folders import CONFIG, PREPROCESSOR
from ..checkpoints.writing import WRAPPERS, write_weights, write_whole
from ..layers.block import NORM_EPS
from .loading import backbone_of
from .reading_shapes import settings_of

ENDINGS = ('.pth', '.safetensors')
# Layouts whose libraries read folders.
OF_FOLDERS = ('huggingface', 'timm')
# What timm's model has no place for, and would refuse a file for.
NOT_IN_TIMM = ('mask_token', 'lm_head.')


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
    """Write the weights of a BEiT as another library reads them.

    Args:
        source: What :func:`beit_mm.checkpoints.locate` finds, in any layout.
        target: A file that ends in .pth or .safetensors; what the source says of its images
            (:func:`beit_mm.checkpoints.read_about`) is said there too, if the library keeps a
            place for it. For 'huggingface' and 'timm' also a folder, without an ending:
            ``config.json`` and ``model.safetensors``, which ``from_pretrained(folder)`` of
            transformers and ``timm.create_model('local-dir:folder', pretrained=True)`` read; and
            ``preprocessor_config.json``, if the source says how images are normalised.
        to: One of :data:`beit_mm.checkpoints.LAYOUTS`.
        which: Of several sets of weights the one to take, such as 'ema' or 'teacher'; see
            :func:`beit_mm.checkpoints.load_state_dict`.

    Returns:
        What was found and written.

    Raises:
        FileNotFoundError: If the source is not there, or the folder of the target.
        CheckpointError: If the source holds no BEiT, or one that ``to`` has no place for.
        ValueError: If ``to`` is no layout, or the target is of a form that it has not.
        ImportError: If a package is missing that fetches the source.
    """
    target = Path(target)
    check_target(target, to)
    path = locate(source)
    weights = take_weights(read_checkpoint(path), which, str(source))
    try:
        layout = detect_layout(weights)
        converted = convert_state_dict(weights, to)
        if to == 'timm':
            converted = _without(NOT_IN_TIMM, converted)
        if target.suffix in ENDINGS:
            bare = target.suffix == '.pth' and to not in WRAPPERS
            write_weights(target, converted, to, None if bare else read_about(path))
        else:
            _write_folder(target, weights, converted, to, path)
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
    if not is_folder and target.suffix not in ENDINGS:
        raise ValueError(f'target {target} must end in .pth or .safetensors')
    if is_folder and (to not in OF_FOLDERS or target.is_file()):
        raise ValueError(
            f'target {target} must end in .pth or .safetensors; folders are for '
            f'{" and ".join(OF_FOLDERS)}'
        )
    if not target.absolute().parent.is_dir():
        raise FileNotFoundError(f'{target}: there is no folder {target.parent}')


def _without(beginnings: tuple[str, ...], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    left_out = [name for name in weights if name.startswith(beginnings)]
    if left_out:
        print_log(f'timm has no place for {summarize(left_out)}', logger='current')
    return {name: tensor for name, tensor in weights.items() if name not in left_out}


def _write_folder(
    folder: Path,
    weights: Mapping[str, Tensor],
    converted: Mapping[str, Tensor],
    to: str,
    source: Path,
) -> None:
    ours = backbone_of(weights)
    settings = settings_of(ours, read_config(source))
    unknown = [] if settings['arch']['num_heads'] else ['how many heads there are']
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
            "transformers' BEiT is for square images and patches alone, these are for images of "
            f'{settings["img_size"]} and patches of {settings["patch_size"]}; write a file'
        )
    if to == 'timm':
        contents[CONFIG] = timm_config(settings, converted, images)
    else:
        contents[CONFIG] = huggingface_config(settings, converted)
        if images is not None:
            contents[PREPROCESSOR] = preprocessor_config(settings['img_size'], *images)
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


def huggingface_config(settings: dict[str, Any], names: Mapping[str, Tensor]) -> dict[str, Any]:
    """The ``config.json`` of transformers' BEiT.

    Args:
        settings: Those of :class:`BEiT`, for square images and patches.
        names: The weights, under the names of files on the hub.
    """
    arch = settings['arch']
    config: dict[str, Any] = dict(
        architectures=['BeitModel'],
        model_type='beit',
        hidden_size=arch['embed_dims'],
        num_hidden_layers=arch['num_layers'],
        num_attention_heads=arch['num_heads'],
        intermediate_size=arch['feedforward_channels'],
        hidden_act='gelu',
        layer_norm_eps=NORM_EPS,
        image_size=settings['img_size'][0],
        patch_size=settings['patch_size'][0],
        num_channels=settings['in_channels'],
        use_mask_token=settings['with_mask_token'],
        use_absolute_position_embeddings=settings['use_abs_pos_emb'],
        use_relative_position_bias=settings['use_rel_pos_bias'],
        use_shared_relative_position_bias=settings['use_shared_rel_pos_bias'],
        layer_scale_init_value=settings['layer_scale_init_value'],
        # Without, the model ends in a norm of its own.
        use_mean_pooling=settings['out_type'] == 'avg_featmap' or not settings['final_norm'],
    )
    if 'lm_head.weight' in names:
        # Whose norm is its head's.
        config |= dict(
            architectures=['BeitForMaskedImageModeling'],
            use_mean_pooling=True,
            vocab_size=len(names['lm_head.weight']),
        )
    if 'classifier.weight' in names:
        labels = [f'LABEL_{index}' for index in range(len(names['classifier.weight']))]
        config |= dict(
            architectures=['BeitForImageClassification'],
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
        )
    return config


def preprocessor_config(size: tuple[int, int], mean: list[float], std: list[float]) -> dict:
    """The ``preprocessor_config.json`` of transformers' BEiT."""
    return dict(
        image_processor_type='BeitImageProcessor',
        do_resize=True,
        size=dict(height=size[0], width=size[1]),
        # Bicubic.
        resample=3,
        do_center_crop=False,
        do_rescale=True,
        do_normalize=True,
        image_mean=mean,
        image_std=std,
    )


def timm_config(
    settings: dict[str, Any],
    names: Mapping[str, Tensor],
    images: tuple[list[float], list[float]] | None,
) -> dict[str, Any]:
    """The ``config.json`` of timm's BEiT.

    Args:
        settings: Those of :class:`BEiT`.
        names: The weights, under timm's names.
        images: Mean and standard deviation that images are normalised by, if known.

    Raises:
        CheckpointError: If the weights have no norm at the end, as timm's model has.
    """
    if not settings['final_norm'] and settings['out_type'] != 'avg_featmap':
        raise CheckpointError("it has no norm at the end, as timm's model must have; write a file")
    arch = settings['arch']
    width, hidden = arch['embed_dims'], arch['feedforward_channels']
    # timm rounds the product down.
    ratio = hidden / width if int(width * (hidden / width)) == hidden else (hidden + 0.5) / width
    classes = len(names['head.weight']) if 'head.weight' in names else 0
    pool = 'avg' if settings['out_type'] == 'avg_featmap' else 'token'
    size = settings['img_size']
    normalised = {} if images is None else dict(mean=images[0], std=images[1])
    return dict(
        # One that timm knows; the arguments make it any other.
        architecture='beit_base_patch16_224',
        num_classes=classes,
        num_features=width,
        global_pool=pool,
        model_args=dict(
            img_size=list(size),
            patch_size=list(settings['patch_size']),
            in_chans=settings['in_channels'],
            embed_dim=width,
            depth=arch['num_layers'],
            num_heads=arch['num_heads'],
            mlp_ratio=ratio,
            init_values=settings['layer_scale_init_value'],
            use_abs_pos_emb=settings['use_abs_pos_emb'],
            use_rel_pos_bias=settings['use_rel_pos_bias'],
            use_shared_rel_pos_bias=settings['use_shared_rel_pos_bias'],
            num_classes=classes,
            global_pool=pool,
        ),
        pretrained_cfg=dict(
            input_size=[settings['in_channels'], *size],
            fixed_input_size=True,
            num_classes=classes,
            interpolation='bicubic',
            first_conv='patch_embed.proj',
            classifier='head',
            **normalised,
        ),
    )
