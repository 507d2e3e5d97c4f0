"""Checkpoints in the Runner: any public layout, and no code from the file is run."""

from __future__ import annotations

from collections import OrderedDict

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import CheckpointLoader, Runner
from torch import nn

from ..checkpoints import CheckpointError, read_checkpoint, summarize, take_tensors
from ..models import BEiT
from ..models.pretrained import fit_model
from ..registry import HOOKS


def load_from_checked_file(path: str, map_location: object = None) -> dict:
    """Read a checkpoint as mmengine wants it, by :func:`beit_mm.checkpoints.read_checkpoint`.

    Args:
        path: A file, or an http(s) URL, which one process downloads for all.
        map_location: Not used: whoever takes the tensors moves them.

    Returns:
        ``state_dict`` and, of a checkpoint that mmengine wrote, what is beside it.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it cannot be read or asks for code to be run.
    """
    if path.startswith(('http://', 'https://')):
        if is_main_process():
            read_checkpoint(path)
        barrier()
    content = read_checkpoint(path)
    if not (isinstance(content, dict) and 'state_dict' in content):
        return dict(state_dict=OrderedDict(take_tensors(content)))
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
    """Have mmengine read files and http(s) URLs by :func:`load_from_checked_file` from now on."""
    prefixes = ['', 'http://', 'https://']
    CheckpointLoader.register_scheme(prefixes, load_from_checked_file, force=True)


@HOOKS.register_module()
class PublicWeightsHook(Hook):
    """Let ``load_from`` take weights of a BEiT in any public layout, of any resolution.

    The tools of this project have it always; other projects add it to ``custom_hooks``. Once it is
    built, mmengine reads all checkpoints without running code from them.

    Args:
        strict: Whether every parameter of the model must be in the file, as testing needs. For
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
            CheckpointError: If they lack weights of the backbone, or of the model if ``strict``.
        """
        model = runner.model
        while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
            model = model.module
        prefix = _backbone_prefix(model)
        if prefix is None or runner._resume:
            return
        source = str(runner._load_from)
        weights = fit_model(model, prefix, take_tensors(checkpoint), source)
        lost = [name for name, _ in model.named_parameters() if name not in weights]
        if self.strict and lost:
            raise CheckpointError(f'{source} lacks {summarize(lost)} of the model to be tested')
        checkpoint['state_dict'] = OrderedDict(weights)


def _backbone_prefix(model: nn.Module) -> str | None:
    """What the names of the weights of a model's first BEiT begin with, or None without one."""
    for name, module in model.named_modules():
        if isinstance(module, BEiT):
            return f'{name}.' if name else ''
    return None
