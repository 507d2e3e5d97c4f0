"""What a step will take of a device's memory, known before the first one.

A run that takes more memory than the machine has is killed without a word. So the tensors of a step
on one image and on two are counted, forward and backward: what a whole batch takes follows by a
straight line. Nothing of the run is changed by it.
"""

import copy
import logging
import math
import socket
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.dist import all_gather_object
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmengine.utils import digit_version
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from ...component import ConfigError, in_a_line
from ..optimizing.optimizer_state import NUMBERS, state_of_a_weight
from .out_of_memory import batch_size_of, first_samples

CGROUPS = Path('/sys/fs/cgroup')
OWN_GROUP = Path('/proc/self/cgroup')
# Of what is free, how much may be taken without a word: libraries have memory of their own.
COMFORTABLE = 0.8


class StepMemory(NamedTuple):
    """Bytes that a step takes beside the weights, which are there already.

    Attributes:
        fixed: Of the optimizer's state and of what does not depend on the batch.
        gradients: Of all weights; they are there when the activations are gone.
        per_image: Of activations and their gradients.
    """

    fixed: int
    gradients: int
    per_image: int

    def of(self, images: int) -> int:
        """Bytes of a step of so many images."""
        return self.fixed + max(self.gradients, self.per_image * images)

    def largest_batch(self, free: int) -> int:
        """How many images fit beside accumulated gradients, 0 if not one does."""
        return max(0, (free - self.fixed - self.gradients) // max(1, self.per_image))


class CountedTensors(TorchDispatchMode):
    """Counts the bytes of the tensors that are made while it is on.

    Gradients of parameters are counted apart: there are as many whatever the batch.

    Attributes:
        held: Bytes of tensors that are still there, gradients of parameters left out.
        peak: The most that was held at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held = self.peak = 0
        self._known: dict[int, int] = {}
        self._ends: list[weakref.finalize] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        given = {storage._cdata for storage in _storages((args, kwargs))}
        for storage in _storages(made):
            # A view, of a weight say, makes nothing.
            if storage._cdata not in given:
                self._count(storage)
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known[key] = storage.nbytes()
        self.held += storage.nbytes()
        self.peak = max(self.peak, self.held)
        self._ends.append(weakref.finalize(storage, self._forget, key))

    def _forget(self, key: int) -> None:
        self.held -= self._known.pop(key, 0)

    def __exit__(self, *args) -> None:
        super().__exit__(*args)
        # What outlives the count is no longer asked about, at the interpreter's end least of all.
        for end in self._ends:
            end.detach()

    def leave_out(self, tensor: Tensor) -> None:
        """Count a tensor no longer."""
        self._forget(tensor.untyped_storage()._cdata)


def _storages(values: Any) -> list[torch.UntypedStorage]:
    """What holds the numbers of the tensors among some values."""
    return [t.untyped_storage() for t in tree_flatten(values)[0] if isinstance(t, Tensor)]


@contextmanager
def undone(model: nn.Module) -> Iterator[None]:
    """Let a model compute a loss without a trace.

    Buffers, gradients, modes, and parameters that are not trained, such as a momentum encoder's,
    are put back. Batch norm takes its running figures meanwhile: from one image it could not take
    its own.
    """
    held = [(module, dict(module._buffers)) for module in model.modules()]
    not_saved = [(m, set(m._non_persistent_buffers_set)) for m, _ in held]
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    changeable = [*frozen, *(b for _, own in held for b in own.values() if b is not None)]
    values = [tensor.detach().clone() for tensor in changeable]
    # A run that goes on between two steps of the optimizer has some from its checkpoint.
    gradients = [(parameter, parameter.grad) for parameter in model.parameters()]
    model.zero_grad(set_to_none=True)
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for module, own in held:
            module._buffers.clear()
            module._buffers.update(own)
        for module, names in not_saved:
            module._non_persistent_buffers_set = names
        with torch.no_grad():
            for tensor, value in zip(changeable, values, strict=True):
                tensor.copy_(value)


def peak_of_a_step(runner: Runner, batch: Any) -> int:
    """Bytes of the tensors of forward and backward pass, weights and their gradients left out.

    Args:
        runner: In training, before its first step.
        batch: As the data loader has yielded it.
    """
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    counted = CountedTensors()
    hooks = [
        parameter.register_post_accumulate_grad_hook(lambda p: counted.leave_out(p.grad))
        for parameter in model.parameters()
        if parameter.requires_grad
    ]
    try:
        with undone(model), counted:
            with runner.optim_wrapper.optim_context(model):
                losses = model._run_forward(model.data_preprocessor(batch, True), mode='loss')
            model.parse_losses(losses)[0].backward()
    finally:
        for hook in hooks:
            hook.remove()
    return counted.peak


def state_per_byte(optimizer: torch.optim.Optimizer) -> float:
    """Bytes of an optimizer's state for each byte of the weights: 2 of Adam's, 1 of momentum."""
    state = state_of_a_weight(optimizer)
    if state is None:
        return 2.0
    return sum(tensor.nbytes for tensor in state.values()) // (4 * NUMBERS)


def can_be_counted() -> bool:
    """Whether this PyTorch lets its tensors be watched."""
    return digit_version(torch.__version__) >= digit_version('2.2')


def memory_of_a_step(runner: Runner, batch: Any) -> StepMemory | None:
    """What a step takes, measured on one image and on two of a batch.

    None where the batch does not say how many images it holds, or holds one; and before PyTorch
    2.2, where watching tensors corrupts memory.
    """
    size = batch_size_of(batch)
    if size is None or size < 2 or not can_be_counted():
        return None
    # Copies: Mixup and its like write into the samples.
    few = [copy.deepcopy(first_samples(batch, size, number)) for number in (1, 2)]
    one, two = (peak_of_a_step(runner, some) for some in few)
    weights = sum(p.nbytes for p in runner.model.parameters() if p.requires_grad)
    # Distributed training copies the gradients into buckets.
    copies = state_per_byte(_optimizer(runner)) + is_model_wrapper(runner.model)
    per_image = max(two - one, 0)
    return StepMemory(round(weights * copies) + max(one - per_image, 0), weights, per_image)


def _optimizer(runner: Runner) -> torch.optim.Optimizer:
    wrapper = runner.optim_wrapper
    return getattr(wrapper, 'optimizer', None) or next(iter(wrapper.values())).optimizer


def free_memory(device: torch.device) -> int | None:
    """Bytes that this process may still take of a device; None where the system does not say.

    On a processor all processes must ask.
    """
    if device.type == 'cuda':
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    meminfo = Path('/proc/meminfo')
    if device.type != 'cpu' or not meminfo.is_file():
        return None
    fields = dict(line.split(':') for line in meminfo.read_text().splitlines())
    if 'MemAvailable' not in fields:
        return None
    left = {'machine': int(fields['MemAvailable'].split()[0]) * 1024, **dict(_left_in_groups())}
    # Processes of one machine share what is free there, and those of a group what its limit leaves.
    own = [(socket.gethostname(), name) for name in left]
    sharing = Counter(name for names in all_gather_object(own) for name in names)
    return min(left[name] // sharing[host, name] for host, name in own)


def _left_in_groups() -> Iterator[tuple[str, int]]:
    """The limits of this process' control groups, and what they leave.

    Containers and Slurm set them.
    """
    lines = OWN_GROUP.read_text().splitlines() if OWN_GROUP.is_file() else []
    inside = next((line[4:] for line in lines if line.startswith('0::/')), '')
    folder = CGROUPS / inside
    for group in (folder, *folder.parents):
        limit, used = group / 'memory.max', group / 'memory.current'
        if limit.is_file() and used.is_file() and (most := limit.read_text().strip()) != 'max':
            statistics = group / 'memory.stat'
            lines = statistics.read_text().splitlines() if statistics.is_file() else []
            # Of files that were read: given back when it is needed.
            cached = int(dict(line.split() for line in lines).get('inactive_file', 0))
            yield str(group), int(most) - int(used.read_text()) + cached
        if group == CGROUPS:
            return


def foresee(runner: Runner, batch: Any) -> None:
    """Say in the log what a step will take, and refuse what the processor cannot hold.

    A GPU whose memory runs out says so, see :mod:`.out_of_memory`; there it is a warning.

    Args:
        runner: In training, before its first step.
        batch: The first, as the data loader has yielded it.

    Raises:
        ConfigError: If a step takes more than a processor has free.
    """
    device = next(runner.model.parameters()).device
    # By all processes: what follows may come to nothing in one of them.
    free = free_memory(device)
    try:
        step = memory_of_a_step(runner, batch)
    # Others' models may have no answer to one image.
    except Exception as error:
        print_log(f'The memory of a step is not known: {in_a_line(error)}', logger='current')
        return
    if step is None:
        return
    size = batch_size_of(batch)
    assert size is not None
    said = (
        f'A step of {size} images takes about {_gigabytes(step.of(size))} of memory: '
        f'{_gigabytes(step.per_image)} an image, and {_gigabytes(step.fixed)} whatever the batch'
    )
    if free is None:
        print_log(f'{said}.', logger='current')
        return
    said += f'; {_gigabytes(free)} are free.'
    if step.of(size) <= COMFORTABLE * free:
        print_log(said, logger='current')
        return
    said = f'{said} {advised(step, size, int(COMFORTABLE * free))}'
    if step.of(size) > free and device.type == 'cpu':
        raise ConfigError(said)
    print_log(said, logger='current', level=logging.WARNING)


def advised(step: StepMemory, size: int, free: int) -> str:
    """The settings with which the same images make one step of the weights, in smaller batches.

    >>> advised(StepMemory(fixed=90, gradients=10, per_image=10), 64, 500)
    'Set train_dataloader.batch_size=32 optim_wrapper.accumulative_counts=2.'
    """
    fitting = min(step.largest_batch(free), size - 1)
    if fitting < 1:
        return 'Not one image fits: take smaller images or a smaller network.'
    divisor = next(n for n in range(fitting, 0, -1) if size % n == 0)
    return (
        f'Set train_dataloader.batch_size={divisor} '
        f'optim_wrapper.accumulative_counts={size // divisor}.'
    )


def _gigabytes(count: float) -> str:
    digits = 1 if count >= 1e9 else max(1, 1 - math.floor(math.log10(max(count, 1e6) / 1e9)))
    return f'{count / 1e9:.{digits}f} GB'
