"""The segmentor that a look is into: of a command's folder, or of a config with a checkpoint."""

import inspect
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS

from ..component import ConfigError
from ..engine.checking.config_check import enter_scope
from ..exporting.building import load_whole
from .trained import SEGMENTOR, Trained, finished_run, load_trained

IGNORED = 255


def segmentor_for(model: str | Path, checkpoint: str | Path | None = None) -> Trained:
    """A segmentor with its weights, in eval mode, on a GPU if there is one.

    Args:
        model: Folder that ``beit-mm segment`` has made, or a config.
        checkpoint: Weights of a config, in any layout.

    Raises:
        ConfigError: If there is none, or the config does not name its classes.
        CheckpointError: If the checkpoint has not all of its weights.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        if checkpoint is not None:
            raise ConfigError(f'{model} has weights of its own; --checkpoint is of configs')
        finished_run(path, SEGMENTOR)
        return load_trained(path)
    if path.suffix != '.py' or not path.is_file():
        raise ConfigError(
            f'{model} must be a folder of beit-mm segment, or a config and --checkpoint'
        )
    if checkpoint is None:
        raise ConfigError(f'{model} is a config: give its weights by --checkpoint')
    cfg = Config.fromfile(path)
    if not str(cfg.model.get('type')).endswith('EncoderDecoder'):
        raise ConfigError(f'{model} has the model {cfg.model.get("type")}; it must be a segmentor')
    enter_scope(cfg.get('default_scope', 'mmseg'))
    cfg.val_dataloader = cfg.get('val_dataloader') or cfg.get('test_dataloader')
    if not cfg.val_dataloader:
        raise ConfigError(f'{model} has no val_dataloader, which says how its images are read')
    dataset = _whole(cfg.val_dataloader.dataset)
    if not dataset.metainfo.get('classes') or not dataset.metainfo.get('palette'):
        raise ConfigError(f'{model}: val_dataloader.dataset names no classes with their palette')
    cfg.model.backbone.init_cfg = None
    built = revert_sync_batchnorm(MODELS.build(cfg.model))
    load_whole(built, checkpoint)
    if torch.cuda.is_available():
        built.cuda()
    return Trained(cfg, built.eval(), list(dataset.metainfo.classes), segments=True)


def ignored_by(trained: Trained) -> int:
    """The label that its metric leaves out."""
    evaluator = trained.cfg.get('val_evaluator') or {}
    first: Any = evaluator[0] if isinstance(evaluator, (list, tuple)) else evaluator
    return int(first.get('ignore_index', IGNORED))


def _whole(dataset: Any) -> Any:
    """A data set's config with what its class says beside it."""
    from mmseg.registry import DATASETS

    kind = DATASETS.get(dataset.type)
    if kind is None:
        raise ConfigError(f'val_dataloader.dataset is {dataset.type}, which is not known')
    known = {**getattr(kind, 'METAINFO', {}), **(dataset.get('metainfo') or {})}
    dataset.metainfo = {name: list(known.get(name) or []) for name in ('classes', 'palette')}
    if 'reduce_zero_label' not in dataset:
        setting = inspect.signature(kind).parameters.get('reduce_zero_label')
        dataset.reduce_zero_label = bool(setting is not None and setting.default is True)
    return dataset
