"""Checkpoints in the Runner: any public layout, and no code from the file is run."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer, print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import BaseLoop, CheckpointLoader, Runner, find_latest_checkpoint
from torch import Tensor, nn

from ...checkpoints import (
    BAND_NAMES,
    PREFIX,
    CheckpointError,
    read_checkpoint,
    summarize,
    take_tensors,
    unwrap_names,
)
from ...component import ConfigError
from ...datasets.class_numbers import check_numbers, classes_of
from ...models import DiscreteVAE, DVAETargetGenerator, VisionTransformer
from ...models.fitting import fit_model
from ...models.tokenizer_bands import fit_tokenizer
from ...registry import HOOKS
from ..optimizing.param_groups import share_groups_of_checkpoint


def load_from_checked_file(path: str, map_location: object = None) -> dict:
    """Read a checkpoint as mmengine wants it, by :func:`beit_mm.checkpoints.read_checkpoint`.

    Args:
        path: What :func:`beit_mm.checkpoints.locate` finds.
        map_location: Not used: whoever takes the tensors moves them.

    Returns:
        ``state_dict`` and, of a checkpoint that mmengine wrote, what is beside it.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it cannot be read or asks for code to be run.
    """
    content = read_checkpoint(path)
    weights = OrderedDict(take_tensors(content, source=path))
    if not (isinstance(content, dict) and 'state_dict' in content):
        return dict(state_dict=weights)
    content['state_dict'] = weights
    try:
        # On resuming mmengine would run the config in the file, a program, for one number.
        content.get('meta', {}).pop('config', None)
        scalars = content.get('message_hub', {}).get('log_scalars', {})
        for name, log in scalars.items():
            scalars[name] = HistoryBuffer(log._log_history, log._count_history, log.max_length)
    except (AttributeError, TypeError) as error:
        raise CheckpointError(f'{path} has the form of none of mmengine: {error}') from error
    return content


def read_safely() -> None:
    """Have mmengine read every checkpoint by :func:`load_from_checked_file` from now on.

    Also those of other schemes, such as s3:// and torchvision://, which are refused.
    """
    schemes = ('http', 'https', 'pavi', 'modelzoo', 'torchvision', 'open-mmlab', 'openmmlab')
    # mmengine's own patterns: the same key replaces its loader.
    stores = (r'(\S+\:)?s3://', r'(\S+\:)?petrel://')
    prefixes = ['', *(f'{scheme}://' for scheme in (*schemes, 'mmcls')), *stores]
    CheckpointLoader.register_scheme(prefixes, load_from_checked_file, force=True)


@HOOKS.register_module()
class PublicWeightsHook(Hook):
    """Let ``load_from`` take weights of a BEiT in any public layout, of any resolution.

    The tools of this project have it always; other projects add it to ``custom_hooks``. Once it is
    built, mmengine reads all checkpoints without running code from them.

    Args:
        strict: Whether every parameter and floating buffer of the model must be in the file, as
            testing needs, and classes of the test data have the numbers that the file says. For
            training, what the file lacks keeps its initial value, and the log names it.
    """

    # Before mmengine's EMAHook, which copies what was loaded.
    priority = 'VERY_HIGH'

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        read_safely()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Turn the checkpoint's weights into the model's; a resumed run's are so already.

        Raises:
            CheckpointError: If they lack weights of the backbone, or of the model if ``strict``;
                if a run that is resumed had another model, or the file is not of a run.
            ConfigError: If ``strict`` and a class was trained with another number.
        """
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        if runner._resume:
            source = str(runner._load_from or find_latest_checkpoint(runner.work_dir))
            _check_resumable(model, checkpoint, source)
            share_groups_of_checkpoint(checkpoint, runner.optim_wrapper)
            return
        source, weights = str(runner._load_from), checkpoint['state_dict']
        fitted = fit_to_model(model, weights, source, whole=self.strict)
        checkpoint['state_dict'] = OrderedDict(fitted)
        if self.strict and isinstance(runner._test_loop, BaseLoop):
            _check_classes(runner._test_loop.dataloader.dataset, checkpoint, source)


def _check_classes(dataset: object, checkpoint: dict, source: str) -> None:
    """Refuse to test on classes of other numbers than those that were trained."""
    meta = checkpoint.get('meta')
    known = meta.get('dataset_meta') if isinstance(meta, dict) else None
    trained = known.get('classes') if isinstance(known, dict) else None
    key, where = 'test_dataloader.dataset', f'the training of {source}'
    for said in check_numbers(key, classes_of(dataset), list(map(str, trained or ())), where):
        raise ConfigError(said)


def fit_to_model(
    model: nn.Module, weights: dict[str, Tensor], source: str, whole: bool
) -> dict[str, Tensor]:
    """Weights as a model takes them: of a BEiT, or of a model with one inside, in any layout.

    Args:
        model: Not changed.
        weights: As they are in a file.
        source: The file, for messages.
        whole: Whether every parameter and floating buffer of the model must be there.

    Raises:
        CheckpointError: If weights of the backbone are missing, or of the model if ``whole``.
    """
    weights = _fit_tokenizers(model, weights, source)
    prefix = _backbone_prefix(model)
    if prefix is None:
        fitted = _fit_by_name(model, weights, source)
    else:
        # A wrapped model's own names, or those of a tool that was around another.
        if prefix in ('', PREFIX) or f'{prefix}patch_embed.proj.weight' not in weights:
            weights = unwrap_names(weights, source)
        fitted = fit_model(model, prefix, weights, source)
    lost = [name for name in _needed(model) if name not in fitted]
    if whole and lost:
        raise CheckpointError(f'{source} lacks {summarize(lost)} of the model to be tested')
    return fitted


def _fit_tokenizers(model: nn.Module, weights: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """Weights with those of the tokenizers in a model fitted to their bands."""
    for name, module in model.named_modules():
        if isinstance(module, DiscreteVAE):
            prefix = f'{name}.' if name else ''
            own = {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}
            fitted, said = fit_tokenizer(module, own)
            others = {n: t for n, t in weights.items() if not n.startswith(prefix)}
            weights = {**others, **{f'{prefix}{n}': t for n, t in fitted.items()}}
            if said:
                print_log(f'{source}: {said}', logger='current')
    return weights


def _needed(model: nn.Module) -> list[str]:
    """Names of the numbers that a model cannot do without, tokenizers apart that have loaded."""
    loaded = tuple(
        f'{name}.'
        for name, module in model.named_modules()
        if isinstance(module, DVAETargetGenerator) and module.checkpoint is not None
    )
    return [
        name
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point() and not (loaded and name.startswith(loaded))
    ]


def _fit_by_name(model: nn.Module, weights: dict[str, Tensor], source: str) -> dict[str, Tensor]:
    """What of the weights of a model without a BEiT, such as a tokenizer, has a place in it."""
    own = model.state_dict()
    loaded = {n: t for n, t in weights.items() if n in own and own[n].shape == t.shape}
    missing = [name for name in own if name not in loaded]
    if not loaded:
        raise CheckpointError(f'{source} has nothing of this model: it lacks {summarize(missing)}')
    unused = [name for name in weights if name not in loaded]
    print_log(
        f'{source}: loaded {len(loaded)} of {len(own)} tensors; missing {summarize(missing)}; '
        f'unused {summarize(unused)}',
        logger='current',
    )
    return loaded


# What mmengine's Runner takes from a checkpoint without asking whether it is there.
RESUMED = dict(
    meta=('epoch', 'iter'),
    message_hub=('log_scalars', 'runtime_info', 'resumed_keys'),
    optimizer=('param_groups', 'state'),
)


def _check_resumable(model: nn.Module, checkpoint: dict, source: str) -> None:
    """Refuse to resume from anything but a checkpoint of the same training."""
    lacks = [
        f'{part}.{key}'
        for part, keys in RESUMED.items()
        for key in keys
        if not _holds(checkpoint.get(part), key)
    ]
    if lacks:
        raise CheckpointError(
            f'{source} is no checkpoint of a run that can be resumed, it has no '
            f'{", ".join(lacks)}: to start a new run from its weights give load_from={source} '
            'without --resume'
        )
    _check_same(model, checkpoint['state_dict'], source)
    if 'ema_state_dict' in checkpoint:
        # mmengine's EMAHook will load these into the model, and the others into the averages.
        _check_same(model, take_tensors(checkpoint['ema_state_dict'], source=source), source)


def _holds(kept: Any, key: str) -> bool:
    """Whether a part of a checkpoint has a key; of several optimizers each, by their names."""
    if not isinstance(kept, dict) or key in kept:
        return isinstance(kept, dict)
    return bool(kept) and all(isinstance(one, dict) and key in one for one in kept.values())


def _check_same(model: nn.Module, theirs: dict[str, Tensor], source: str) -> None:
    own = model.state_dict()
    differing = [n for n in own if n in theirs and own[n].shape != theirs[n].shape]
    if not differing:
        # With another grid the optimizer's state would not fit the positions.
        said = [n for n in own if n.endswith(('patch_grid', BAND_NAMES)) and n in theirs]
        differing = [n for n in said if own[n].tolist() != theirs[n].tolist()]
    missing = [n for n in own if n not in theirs]
    unused = [n for n in theirs if n not in own]
    if differing or missing or unused:
        raise CheckpointError(
            f'{source} is of a run with another model: of another size {summarize(differing)}; '
            f'missing {summarize(missing)}; unknown {summarize(unused)}. Resume with the config of '
            'that run, or give load_from without --resume'
        )


def _backbone_prefix(model: nn.Module) -> str | None:
    """What the names of the weights of a model's first backbone begin with, or None without one."""
    for name, module in model.named_modules():
        if isinstance(module, VisionTransformer):
            return f'{name}.' if name else ''
    return None
