"""From a config and a checkpoint to a program and what others may want to know of it."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope
from torch import nn

from ..checkpoints import read_checkpoint, take_tensors
from ..component import ConfigError, innermost
from ..engine.running.public_weights import fit_to_model
from ..models import VisionTransformer
from .program import Program, normalization_of

BACKBONES = ('BEiT', 'VisionTransformer')
# Settings of the step that reads an image which whoever prepares images for the file must know.
READING = ('value_range', 'no_data', 'background')
# Steps of a pipeline that are not between an image's pixels and the network: how their names begin.
AROUND = ('Load', 'MapLabels', 'CheckAnnotation', 'Pack')


class Built(NamedTuple):
    """A program, and what a config and a checkpoint say beside it.

    Attributes:
        program: The program.
        size: Height and width that its model is trained or tested at.
        classes: Names of the classes, where they are known.
        reading: What the test pipeline says of pixels before they are in [0, 1], where it does:
            ``value_range``, ``no_data`` and ``background``, see
            :class:`beit_mm.datasets.LoadPhoto`. Of a classifier and a segmentor ``steps``, those
            between reading and packing, and of a segmentor ``scale``, the width and height that
            images are brought into, and ``stride`` of the windows that slide over them.
        probabilities: What makes probabilities of the logits, 'softmax' or 'sigmoid'; None of
            features.
    """

    program: Program
    size: tuple[int, int]
    classes: list[str] | None
    reading: dict[str, Any]
    probabilities: str | None


def build_from_model(model: nn.Module, checkpoint: str | Path | None) -> Built:
    """The program of a model that somebody has built, with its own weights or a checkpoint's."""
    loaded = model if checkpoint is None else copy.deepcopy(model)
    meta = load_whole(loaded, checkpoint)
    # Where MMPretrain and MMSegmentation keep the config of a model that they have built.
    cfg = getattr(model, '_config', None) or getattr(model, 'cfg', None)
    preprocessor = (
        None if isinstance(model, VisionTransformer) else getattr(model, 'data_preprocessor', None)
    )
    known = getattr(model, '_dataset_meta', None) or getattr(model, 'dataset_meta', None) or {}
    return _build(loaded, preprocessor, cfg, meta.get('classes') or known.get('classes'))


def build_from_config(
    cfg: Config, checkpoint: str | Path | None, size: tuple[int, int] | None
) -> Built:
    """The program of a config's model.

    Args:
        cfg: A whole config.
        checkpoint: The weights, in any layout; None for random ones.
        size: Of the images, which positions are resampled to as they are loaded; None for any.

    Raises:
        ConfigError: If the config has no model that can be exported.
        CheckpointError: If the checkpoint has not all of its weights.
    """
    settings = copy.deepcopy(cfg.model)
    preprocessor = settings.get('data_preprocessor') or cfg.get('data_preprocessor')
    backbone = settings.get('backbone', settings)
    if str(backbone.get('type')).rpartition('.')[2] not in BACKBONES:
        raise ConfigError(
            f'model.backbone is {backbone.get("type")}; it must be one of '
            f'{", ".join(f"beit_mm.{name}" for name in BACKBONES)}'
        )
    if size is not None:
        backbone.img_size = size
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine'):
        if 'target_generator' in settings:
            # Nothing is hidden, and nothing of the tokenizer is needed.
            backbone.with_mask_token = False
            model = MODELS.build(backbone)
            built_preprocessor = MODELS.build(preprocessor)
        else:
            if settings.get('auxiliary_head'):
                settings.auxiliary_head = None  # Of training alone.
            if preprocessor is not None:
                settings.data_preprocessor = preprocessor
            model = MODELS.build(settings)
            built_preprocessor = getattr(model, 'data_preprocessor', None)
        meta = load_whole(model, checkpoint)
        return _build(model, built_preprocessor, cfg, meta.get('classes') or _classes_of(cfg))


def _build(
    model: nn.Module, preprocessor: nn.Module | None, cfg: Config | None, classes: Any
) -> Built:
    pipeline = _pipeline_of(cfg)
    normalization = None if preprocessor is None else normalization_of(preprocessor, pipeline)
    program = Program(model, normalization)
    size = program.grid[0] * program.patch_size[0], program.grid[1] * program.patch_size[1]
    windows = getattr(program.model, 'test_cfg', None) or {}
    if program.kind == 'segmentor' and windows.get('mode') == 'slide':
        size = tuple(windows['crop_size'])
    named = isinstance(classes, Sequence) and all(isinstance(name, str) for name in classes)
    return Built(
        program,
        size,
        list(classes) if named else None,
        _reading(program, pipeline),
        _probabilities(program),
    )


def _reading(program: Program, pipeline: Sequence[dict] | None) -> dict[str, Any]:
    """What happens to an image before the program; see :class:`Built`."""
    steps = [dict(step) for step in pipeline or () if isinstance(step, Mapping)]
    reading = {name: step[name] for step in steps for name in READING if step.get(name) is not None}
    # Of a pre-training the steps make views to hide patches of.
    if program.kind == 'backbone' or not steps:
        return reading
    names = [str(step['type']).rpartition('.')[2] for step in steps]
    reading['steps'] = [
        step for name, step in zip(names, steps, strict=True) if not name.startswith(AROUND)
    ]
    if program.kind == 'segmentor':
        for step in reading['steps']:
            if step.get('scale') is not None:
                reading['scale'] = step['scale']
        windows = getattr(program.model, 'test_cfg', None) or {}
        if windows.get('mode') == 'slide':
            reading['stride'] = windows['stride']
    return reading


def _probabilities(program: Program) -> str | None:
    """'softmax' where one of the classes is right, 'sigmoid' where each is asked for by itself."""
    if program.kind == 'backbone':
        return None
    if program.kind == 'segmentor':
        alone = program.model.decode_head.out_channels == 1
    else:
        kinds = type(getattr(program.model, 'head', None)).__mro__
        alone = any(kind.__name__ == 'MultiLabelClsHead' for kind in kinds)
    return 'sigmoid' if alone else 'softmax'


def load_whole(model: nn.Module, checkpoint: str | Path | None) -> dict:
    """Load a checkpoint, in any layout, into a model; returns what it says of the data.

    Raises:
        CheckpointError: If it has not all of the weights.
    """
    if checkpoint is None:
        return {}
    content: Any = read_checkpoint(checkpoint)
    weights = take_tensors(content, source=str(checkpoint))
    model.load_state_dict(fit_to_model(model, weights, str(checkpoint), whole=True), strict=False)
    meta = content.get('meta') if isinstance(content, Mapping) else None
    known = meta.get('dataset_meta') if isinstance(meta, Mapping) else None
    return dict(known) if isinstance(known, Mapping) else {}


def _tested(cfg: Config | None) -> Mapping:
    """The test data, or the first of those inside of others, such as ConcatDataset."""
    dataset = ((cfg or {}).get('test_dataloader') or {}).get('dataset') or {}
    return innermost('', dataset)[0][1]


def _pipeline_of(cfg: Config | None) -> list[dict] | None:
    return _tested(cfg).get('pipeline')


def _classes_of(cfg: Config) -> Any:
    """Names of the classes, as the test data or their class say."""
    dataset = _tested(cfg)
    own = (dataset.get('metainfo') or {}).get('classes')
    kind = DATASETS.get(dataset['type']) if 'type' in dataset else None
    return own or getattr(kind, 'METAINFO', {}).get('classes')
