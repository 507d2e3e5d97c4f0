"""What the data gives, before the first iteration: images, samples, batches, channels."""

import logging
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import Tensor

from ...component import ConfigError, in_a_line
from ...datasets.class_numbers import check_numbers, classes_of


def check_first_batch(runner: Runner) -> None:
    """Make batches of two samples, of training and of validation, and give them to the model.

    Args:
        runner: With its loops built.

    Raises:
        ConfigError: With the key of what does not work.
    """
    # Initial weights are drawn after this, as if it had not been.
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        complaint = next(_of_training(runner), None)
        if complaint is None and getattr(runner, '_val_loop', None) is not None:
            complaint = next(_of_validation(runner), None)
    random.setstate(states[0])
    np.random.set_state(states[1])
    if complaint:
        raise ConfigError(complaint)


def _of_training(runner: Runner) -> Iterator[str]:
    loader = runner.train_dataloader
    dataset: Any = loader.dataset
    images, batch_size = len(dataset), getattr(loader.batch_sampler, 'batch_size', 1) or 1
    if not images:
        yield 'train_dataloader.dataset holds no images'
    if not _makes_batches(loader):
        yield (
            f'train_dataloader: {images} images make no batch of {batch_size} a process in '
            f'{runner.world_size} process(es), as drop_last leaves out what does not fill one; set '
            f'train_dataloader.batch_size to {max(1, images // runner.world_size)} or less'
        )
    if images < batch_size:
        print_log(
            f'train_dataloader: {images} images in batches of {batch_size}: a batch is short or '
            'holds an image more than once',
            logger='current',
            level=logging.WARNING,
        )
    yield from _of_batch('train_dataloader', loader, runner, training=True)


def _of_validation(runner: Runner) -> Iterator[str]:
    yield from _of_batch('val_dataloader', runner.val_dataloader, runner, training=False)
    trained = classes_of(runner.train_dataloader.dataset)
    found = classes_of(runner.val_dataloader.dataset)
    yield from check_numbers('val_dataloader.dataset', found, trained, 'train_dataloader.dataset')


def _of_batch(name: str, loader: Any, runner: Runner, *, training: bool) -> Iterator[str]:
    """What is wrong with the first and the last sample, and with a batch of both."""
    dataset: Any = loader.dataset
    if not len(dataset):
        yield f'{name}.dataset holds no images'
        return
    try:
        samples = [dataset[0], dataset[len(dataset) - 1]]
    except Exception as error:
        order = '; is the order of the steps right?' if isinstance(error, KeyError) else ''
        yield f'{name}.dataset: its first sample cannot be made: {in_a_line(error)}{order}'
        return
    model: Any = runner.model
    model = getattr(model, 'module', model)
    alone = getattr(loader.batch_sampler, 'batch_size', None) == 1
    try:
        batch = model.data_preprocessor(loader.collate_fn(samples[: 1 if alone else 2]), training)
    except Exception as error:
        yield f'{name}: {_why_no_batch(samples[0], loader, error)}'
        return
    if isinstance(batch, dict) and 'inputs' in batch:
        yield from _check_channels(model, batch['inputs'])


def _why_no_batch(sample: Any, loader: Any, error: Exception) -> str:
    """What to do about samples that make no batch for the model."""
    if not isinstance(sample, dict) or 'inputs' not in sample:
        return (
            f'the dataset gives {_described(sample)}; a sample is a dict with inputs: does the '
            f"pipeline end with dict(type='PackInputs')? The model says {in_a_line(error)}"
        )
    collate = getattr(loader.collate_fn, 'func', loader.collate_fn)
    return (
        f'samples make no batch that the model takes: {in_a_line(error)}; collate_fn is '
        f'{getattr(collate, "__name__", collate)}. Images of a batch must be of one size, and most '
        "models take collate_fn=dict(type='default_collate')"
    )


def _makes_batches(loader: Any) -> bool:
    try:
        return len(loader) > 0
    except TypeError:  # endless
        return True


def _check_channels(model: Any, inputs: Any) -> Iterator[str]:
    """The network takes as many channels as the pipeline gives."""
    first = inputs[0] if isinstance(inputs, (list, tuple)) else inputs
    backbone = getattr(model, 'backbone', model)
    embed = getattr(getattr(backbone, 'patch_embed', None), 'input', backbone)
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
