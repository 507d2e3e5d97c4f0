"""What the data gives, before the first iteration: images, samples, batches, channels."""

from collections.abc import Iterator
from typing import Any

import torch
from mmengine.runner import Runner
from torch import Tensor

from ...component import ConfigError


def check_first_batch(runner: Runner) -> None:
    """Make a batch of two training samples as training would, and hold it against the model.

    Args:
        runner: With its training loop built.

    Raises:
        ConfigError: With the key of what does not work.
    """
    complaint = next(_complaints(runner), None)
    if complaint:
        raise ConfigError(complaint)


def _complaints(runner: Runner) -> Iterator[str]:
    loader = runner.train_dataloader
    dataset: Any = loader.dataset
    images, batch_size = len(dataset), getattr(loader.batch_sampler, 'batch_size', 1)
    if not images:
        yield 'train_dataloader.dataset holds no images'
    if not _makes_batches(loader):
        yield (
            f'train_dataloader: {images} images make no batch of {batch_size} a process in '
            f'{runner.world_size} process(es), as drop_last leaves out what does not fill one; set '
            f'train_dataloader.batch_size to {max(1, images // runner.world_size)} or less'
        )
    try:
        samples = [dataset[0], dataset[images - 1]]
    except Exception as error:
        yield f'train_dataloader.dataset: its first sample cannot be made: {_named(error)}'
        return
    if not isinstance(samples[0], dict) or 'inputs' not in samples[0]:
        yield (
            f'train_dataloader.dataset gives {_described(samples[0])}; a sample is a dict with '
            "inputs: does the pipeline end with dict(type='PackInputs')?"
        )
        return
    try:
        batch = loader.collate_fn(samples)
        model: Any = runner.model
        model = getattr(model, 'module', model)
        inputs = model.data_preprocessor(batch, True)['inputs']
    except Exception as error:
        yield (
            f'train_dataloader: samples make no batch that the model takes: {_named(error)}; '
            f'collate_fn is {getattr(loader.collate_fn, "__name__", loader.collate_fn)}, and most '
            "models take collate_fn=dict(type='default_collate')"
        )
        return
    yield from _check_channels(model, inputs)


def _makes_batches(loader: Any) -> bool:
    try:
        return len(loader) > 0
    except TypeError:  # endless
        return True


def _check_channels(model: Any, inputs: Any) -> Iterator[str]:
    """The network takes as many channels as the pipeline gives."""
    first = inputs[0] if isinstance(inputs, (list, tuple)) else inputs
    backbone = getattr(model, 'backbone', model)
    embed = getattr(getattr(backbone, 'patch_embed', None), 'proj', backbone)
    wanted = getattr(embed, 'in_channels', None)
    if not isinstance(wanted, int) or not isinstance(first, Tensor) or first.ndim != 4:
        return
    if wanted != first.shape[1]:
        key = 'model' if backbone is model else 'model.backbone'
        yield (
            f'{key}.in_channels is {wanted}, and the pipeline gives images of {first.shape[1]} '
            'channels'
        )


def _described(sample: Any) -> str:
    if isinstance(sample, dict):
        return f'a dict with {", ".join(map(str, sample))}'
    if isinstance(sample, torch.Tensor):
        return f'a tensor of shape {tuple(sample.shape)}'
    return f'a {type(sample).__name__}'


def _named(error: Exception) -> str:
    first_line = str(error).strip().partition('\n')[0]
    return f'{type(error).__name__}: {first_line}'
