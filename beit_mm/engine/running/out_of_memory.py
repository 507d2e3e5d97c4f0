"""What to do about a batch that does not fit into a device's memory: the largest one that does."""

import gc
from collections.abc import Callable
from typing import Any

import torch
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor

# Of torch 2.5 on; before, the same class under CUDA's name.
OutOfMemory = getattr(torch, 'OutOfMemoryError', torch.cuda.OutOfMemoryError)


def batch_size_of(batch: Any) -> int | None:
    """Samples of a batch as a loader yields it, or None where it does not say."""
    samples = batch.get('data_samples') if isinstance(batch, dict) else None
    if isinstance(samples, (list, tuple)):
        return len(samples)
    inputs = batch.get('inputs') if isinstance(batch, dict) else None
    return len(inputs) if isinstance(inputs, Tensor) else None


def first_samples(batch: Any, size: int, number: int) -> Any:
    """The first samples of a batch.

    Args:
        batch: Dicts and lists of tensors (B, ...) and lists of B samples.
        size: B.
        number: How many to keep.

    >>> first_samples(dict(inputs=[torch.zeros(4, 3), torch.ones(4)], names=list('abcd')), 4, 1)
    {'inputs': [tensor([[0., 0., 0.]]), tensor([1.])], 'names': ['a']}
    """
    if isinstance(batch, dict):
        return {name: first_samples(value, size, number) for name, value in batch.items()}
    if isinstance(batch, Tensor) and batch.ndim and len(batch) == size:
        return batch[:number]
    if isinstance(batch, (list, tuple)):
        # Two tensors of two rows are the two views of two samples.
        two_views = size == 2 and all(isinstance(v, Tensor) and len(v) == 2 for v in batch)
        if len(batch) == size and not two_views:
            return batch[:number]
        return type(batch)(first_samples(value, size, number) for value in batch)
    return batch


def largest_that_fits(size: int, fits: Callable[[int], bool]) -> int:
    """The largest number below ``size`` for which ``fits`` is true, 0 if there is none.

    A number fits if a larger one does.

    >>> largest_that_fits(128, lambda number: number <= 37)
    37
    """
    low, high = 0, size
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def advice(runner: Runner, batch: Any, error: str) -> str:
    """What to do about a batch that was too large.

    Smaller ones are tried, forward and backward, without a step of the optimizer and with what the
    device holds at this moment. The optimizer's own state comes with its first step: before that,
    a little less fits in the end.

    Args:
        runner: In training.
        batch: As the data loader has yielded it.
        error: What the device said.
    """
    size = batch_size_of(batch)
    fitting = 0
    if size is not None:
        fitting = largest_that_fits(size, lambda n: _fits(runner, first_samples(batch, size, n)))
    way_out = (
        f'a batch of {fitting} fits: --cfg-options train_dataloader.batch_size={fitting}'
        if fitting
        else 'not even one image fits: take smaller images or a smaller network'
    )
    return (
        f'the memory of the device does not hold a batch of {size} images; {way_out}. '
        'model.backbone.with_cp=True takes less memory and more time, --amp less of both. '
        f'The device says: {error}'
    )


def _fits(runner: Runner, batch: Any) -> bool:
    """Whether forward and backward pass of a batch can be computed."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    model.zero_grad(set_to_none=True)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        with runner.optim_wrapper.optim_context(model):
            losses = model._run_forward(model.data_preprocessor(batch, True), mode='loss')
        model.parse_losses(losses)[0].backward()
    # Too large, or none to compute with, such as one sample of batch norm.
    except Exception:
        return False
    return True
