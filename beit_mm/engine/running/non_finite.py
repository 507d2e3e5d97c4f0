"""Numbers that go wrong: skip the step, say which photos it was, stop if it does not end."""

import functools
import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...registry import HOOKS
from ..optimizing.gradient_norm import ClipInOrder, total_norm
from .run_stopped import RunStopped

FOLDER = 'non_finite'


class Step(NamedTuple):
    """An optimizer step whose norm may still be on its way from the device.

    Attributes:
        iteration: The last that went into it.
        batches: Iteration, loss and photos of each batch that did.
        norm: () on the CPU; None of a step that a loss scaler has left out.
        arrived: CUDA event after which ``norm`` can be read; None if it is there.
    """

    iteration: int
    batches: list[dict]
    norm: Tensor | None
    arrived: torch.cuda.Event | None = None

    @classmethod
    def taken(cls, iteration: int, batches: list[dict], norm: Tensor | None) -> 'Step':
        """A step that was just started; its norm is sent for, and not waited for."""
        if norm is None or norm.device.type != 'cuda':
            return cls(iteration, batches, norm)
        here = torch.empty((), dtype=norm.dtype, pin_memory=True)
        here.copy_(norm.detach(), non_blocking=True)
        arrived = torch.cuda.Event()
        arrived.record()
        return cls(iteration, batches, here, arrived)

    def read_norm(self) -> float | None:
        """The norm as a number."""
        if self.arrived is not None:
            self.arrived.synchronize()
        return None if self.norm is None else float(self.norm)


class WatchedStep:
    """Something done before and after each step of an optimizer, until it is removed.

    PyTorch's own hooks are not called in a process that has called ``torch.compile`` of PyTorch 2.1
    before: it takes them away from all optimizers.

    Args:
        optimizer: Whose ``step`` it is, however it is called.
        before, after: Called with the optimizer.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        before: Callable[[torch.optim.Optimizer], None],
        after: Callable[[torch.optim.Optimizer], None],
    ) -> None:
        self.is_on = True
        step = optimizer.step

        # With the marks that schedulers have left on it.
        @functools.wraps(step)
        def watched(optimizer: torch.optim.Optimizer, *args, **kwargs) -> Any:
            if not self.is_on:
                return step(*args, **kwargs)
            before(optimizer)
            result = step(*args, **kwargs)
            after(optimizer)
            return result

        # A method, as schedulers that come later expect.
        optimizer.step = types.MethodType(watched, optimizer)  # type: ignore[method-assign]

    def remove(self) -> None:
        """Watch no longer. The method stays, for others may have wrapped it since."""
        self.is_on = False


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Leave out optimizer steps whose loss or gradient is not finite, in all processes alike.

    A loss that is not finite in one process makes that process's gradients NaN. The gradients are
    averaged over the processes anyway, so each sees the same norm and decides the same without
    asking the others; with gradient accumulation a step is left out as a whole. A fused optimizer
    leaves it out by itself, on the device, and the host reads the norm one step later; for another
    one the host reads it first. A step that a loss scaler leaves out (``AmpOptimWrapper``) counts
    too; isolated ones are how it finds its scale. Batch norm's running figures, which a forward
    pass moves without the optimizer, stay where those of the batch are not finite.

    Each step that is left out writes ``non_finite/iter_N.json`` in the work directory: seed,
    losses, and of every photo of every process its file and its place, from which
    ``SeededDataset(dataset)[Place(*place)]`` makes the very sample.

    Args:
        max_in_a_row: So many such steps, one after another, stop the run.

    Raises:
        RunStopped: In all processes after the same iteration, on a GPU one step after the last of
            them. Checkpoints are left as they are.
    """

    # Before the checkpoint is saved.
    priority = 'BELOW_NORMAL'

    def __init__(self, max_in_a_row: int = 10) -> None:
        if max_in_a_row < 1:
            raise ValueError(f'max_in_a_row is {max_in_a_row}; it must be at least 1')
        self.max_in_a_row = max_in_a_row
        self.in_a_row = 0
        self.batches: list[dict] = []
        self.norm: Tensor | None = None
        self.unread: Step | None = None
        self.handles: list[Any] = []

    def before_train(self, runner: Runner) -> None:
        """Watch the model's losses and the optimizer's steps."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        wrapper = runner.optim_wrapper

        def check(optimizer: torch.optim.Optimizer) -> None:
            self._check_gradients(optimizer, getattr(wrapper, 'clip_func', None))

        self.handles = [
            model.register_forward_hook(_spoil_gradients),
            WatchedStep(wrapper.optimizer, check, _forget_what_was_found),
        ]
        for norm in (part for part in model.modules() if isinstance(part, _BatchNorm)):
            self.handles += _keep_finite(norm)

    def after_train(self, runner: Runner) -> None:
        """Act on the last step, and watch no longer."""
        self._settle(runner)
        self.let_go(runner)

    def let_go(self, runner: Runner) -> None:
        """Leave model and optimizer as they were found, however the training has ended."""
        for handle in self.handles:
            handle.remove()
        if self.handles:
            # Of a step that did not come to its end.
            _forget_what_was_found(runner.optim_wrapper.optimizer)
        self.handles = []

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Forget the last step's norm."""
        self.norm = None

    def _check_gradients(self, optimizer: Any, clipping: object) -> None:
        """Before the optimizer's step: have it left out if the norm is not finite."""
        if isinstance(clipping, ClipInOrder) and clipping.norm is not None:
            self.norm = clipping.norm
        else:
            self.norm = total_norm(p for g in optimizer.param_groups for p in g['params'])
        if _can_skip(optimizer):
            found = self.norm.isfinite().logical_not().float()
            scalers = getattr(optimizer, 'found_inf', None)
            # Whoever has set it takes it away after the step.
            optimizer.found_inf = found if scalers is None else torch.maximum(found, scalers)
            optimizer.found_by_hook = scalers is None
        elif not _is_finite(float(self.norm)):
            # What has no gradient is no part of the step; momentum and step count stay.
            optimizer.zero_grad(set_to_none=True)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        """Keep what a report would need; after a step that was left out write it."""
        # The loss stays where it is: to read it here would wait for the device.
        loss = outputs['loss'].detach()
        self.batches.append(dict(iteration=runner.iter, loss=loss, photos=_photos(data_batch)))
        if not runner.optim_wrapper.should_update():
            return
        self._settle(runner)
        batches, self.batches = self.batches, []
        self.unread = Step.taken(runner.iter, batches, self.norm)
        if self.unread.arrived is None:
            self._settle(runner)

    def _settle(self, runner: Runner) -> None:
        """Read the norm of the last step that was not read yet, and act on it."""
        step, self.unread = self.unread, None
        if step is None:
            return
        norm = step.read_norm()
        if norm is not None and _is_finite(norm):
            self.in_a_row = 0
            return
        batches = [{**batch, 'loss': float(batch['loss'])} for batch in step.batches]
        self.in_a_row += 1
        hub = runner.message_hub
        hub.update_info('skipped_steps', hub.runtime_info.get('skipped_steps', 0) + 1)
        path = self._report(runner, step.iteration, norm, batches)
        total = hub.get_info('skipped_steps')
        found = 'found not finite by the loss scaler' if norm is None else norm
        runner.logger.warning(
            f'Step after iteration {step.iteration + 1} left out: loss {batches[-1]["loss"]:.4g}, '
            f'norm of the gradient {found} ({total} left out so far, {self.in_a_row} in a row); '
            f'see {path}'
        )
        if self.in_a_row == self.max_in_a_row:
            raise RunStopped(
                f'{self.in_a_row} steps in a row had a loss or gradient that is not finite, the '
                f'last after iteration {step.iteration + 1}. The last checkpoint is as it was. '
                f'{path} names the photos and how to see them again; a lower learning rate, '
                'gradient clipping or bfloat16 are what helps most often'
            )

    def _report(
        self, runner: Runner, iteration: int, norm: float | None, batches: list[dict]
    ) -> Path:
        path = Path(runner.work_dir, FOLDER, f'iter_{iteration + 1}.json')
        ranks = all_gather_object(batches)
        if is_main_process():
            report = dict(
                iteration=iteration + 1,
                epoch=runner.epoch,
                seed=runner.seed,
                processes=runner.world_size,
                gradient_norm=norm,
                last_checkpoint=runner.message_hub.runtime_info.get('last_ckpt'),
                how_to_repeat='--resume from the last checkpoint, on as many processes: the run '
                'comes to this iteration with the same weights and photos. One photo alone: '
                'beit_mm.datasets.places, SeededDataset(dataset)[Place(*place)]',
                ranks=ranks,
            )
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(report, indent=1) + '\n')
        return path


def _can_skip(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the optimizer leaves a step out by itself that ``found_inf`` says is not finite."""
    return getattr(optimizer, '_step_supports_amp_scaling', False)


def _forget_what_was_found(optimizer: Any) -> None:
    if optimizer.__dict__.pop('found_by_hook', False):
        del optimizer.found_inf


def _spoil_gradients(_model: nn.Module, _inputs, outputs) -> None:
    """Have losses that are not finite give NaN gradients, which reach all processes."""
    for loss in outputs.values() if isinstance(outputs, dict) else ():
        for part in loss if isinstance(loss, (list, tuple)) else (loss,):
            if isinstance(part, Tensor) and part.requires_grad:
                value = part.detach()
                part.register_hook(
                    lambda grad, value=value: torch.where(value.isfinite(), grad, torch.nan)
                )


def _keep_finite(norm: _BatchNorm) -> tuple[Any, Any]:
    """Have running figures stay as they were where a forward pass makes them not finite.

    They would be so for good. Nobody waits for the device.
    """
    former: list[Tensor] = []

    def moved(norm: _BatchNorm) -> list[Tensor]:
        figures = (norm.running_mean, norm.running_var) if norm.training else ()
        return [figure for figure in figures if figure is not None]

    def remember(norm: _BatchNorm, _inputs) -> None:
        former[:] = [figure.clone() for figure in moved(norm)]

    def put_back(norm: _BatchNorm, _inputs, _output) -> None:
        for now, before in zip(moved(norm), former, strict=True):
            # As a copy that autograd, which does not need them in training, knows nothing of.
            now.data.copy_(torch.where(now.isfinite(), now, before))

    return norm.register_forward_pre_hook(remember), norm.register_forward_hook(put_back)


def _is_finite(number: float) -> bool:
    return abs(number) < float('inf')


def _photos(batch: object) -> list[dict]:
    samples = batch.get('data_samples') if isinstance(batch, dict) else None
    if not isinstance(samples, (list, tuple)):
        return []
    return [
        dict(file=getattr(sample, 'img_path', None), place=getattr(sample, 'place', None))
        for sample in samples
    ]
