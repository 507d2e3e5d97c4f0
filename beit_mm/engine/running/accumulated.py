"""Gradients that wait for the optimizer's step: how often it comes, and how they outlive a stop."""

import logging
from math import ceil
from typing import Any, NamedTuple

import torch
from mmengine.dist import all_gather_object, gather, get_rank, get_world_size
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor, nn

from ..optimizing.param_groups import has_one_optimizer
from .global_batch import GlobalBatchSizeHook

# Of a checkpoint; mmengine passes over what it does not know.
KEY = 'accumulated'
# Fewer changes of the weights than these are hardly a training.
FEW = 10


def iterations_waiting(optim_wrapper: Any) -> int:
    """Iterations since the optimizer's last step whose gradients it has not had yet."""
    # Several optimizers, which take turns as the model says, accumulate nothing that we know of.
    if not has_one_optimizer(optim_wrapper) or optim_wrapper.should_update():
        return 0
    return optim_wrapper.inner_count % optim_wrapper._accumulative_counts


def _part_of_a_step(optim_wrapper: OptimWrapper) -> float:
    """By how much the loss of an iteration counts, such as 1/128; the run's last step is short."""
    return float(optim_wrapper.scale_loss(torch.ones((), dtype=torch.float64)))


# ----------------------------------------------------------------------------------------------
# In checkpoints
# ----------------------------------------------------------------------------------------------


def gather_accumulated(runner: Runner) -> dict | None:
    """What a checkpoint must hold beside the weights to go on between two steps.

    Every process must ask; the processes' gradients differ, as they are added up in the step.

    Returns:
        None right after a step. Else ``iterations`` and their ``part`` of a step, by which this
        is known again, and ``gradients``, of every process those by name on the CPU; the main
        process alone has them.
    """
    iterations = iterations_waiting(runner.optim_wrapper)
    if not iterations:
        return None
    named = dict(_own_model(runner).named_parameters())
    # Without a gradient a parameter has no part in the step, not even in weight decay.
    present = all_gather_object([n for n, p in named.items() if p.grad is not None])
    gradients: list[dict[str, Tensor]] = [{} for _ in present]
    for name, parameter in named.items():
        if any(name in names for names in present):
            own = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            # One parameter at a time, so that no device has to hold those of all processes.
            for rank, gradient in enumerate(gather(own.detach().contiguous())):
                if name in present[rank]:
                    gradients[rank][name] = gradient.cpu()
    part = _part_of_a_step(runner.optim_wrapper)
    return dict(iterations=iterations, part=part, gradients=gradients)


def put_back(runner: Runner, saved: dict) -> None:
    """Give the parameters the gradients that a checkpoint holds for this process.

    Where the run had another number of processes, each gets the mean of all, to which the step
    then comes too.
    """
    parts, processes = saved['gradients'], get_world_size()
    if len(parts) == processes:
        own = parts[get_rank()]
    else:
        names = dict.fromkeys(name for part in parts for name in part)
        own = {n: sum(part[n] for part in parts if n in part) / len(parts) for n in names}
    for name, parameter in _own_model(runner).named_parameters():
        if name in own:
            # In the parameter's own layout, as the backward pass would leave it.
            parameter.grad = torch.empty_like(parameter).copy_(own[name])


def go_on_accumulating(runner: Runner, saved: dict) -> None:
    """Say that gradients which were put back count on, or drop them if the steps are others now."""
    wrapper, iterations = runner.optim_wrapper, saved['iterations']
    same = iterations == iterations_waiting(wrapper) and saved['part'] == _part_of_a_step(wrapper)
    if same:
        print_log(
            f'The checkpoint holds the gradients of the {iterations} iteration(s) since the last '
            'step: they count on, nothing is lost',
            logger='current',
        )
        return
    before = f'{1 / saved["part"]:g} iterations'
    drop(runner, saved, f'they were of steps of {before}, and this run has others')


def drop(runner: Runner, saved: dict, why: str) -> None:
    """Let go of gradients that were put back, and say why."""
    _own_model(runner).zero_grad(set_to_none=True)
    print_log(
        f'The gradients of {saved["iterations"]} iteration(s) in the checkpoint are left out: '
        f'{why}',
        logger='current',
        level=logging.WARNING,
    )


def _own_model(runner: Runner) -> nn.Module:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


# ----------------------------------------------------------------------------------------------
# At the start
# ----------------------------------------------------------------------------------------------


class Pace(NamedTuple):
    """How often the weights of a run change.

    Attributes:
        iterations: Of the whole run.
        every: Iterations a step of the optimizer.
        images: An iteration, of all processes.
        an_epoch: Iterations an epoch; None where a run does not count epochs.
        by_hook: Whether ``GlobalBatchSizeHook`` says so, and not the optimizer's wrapper.
    """

    iterations: int
    every: int
    images: int
    an_epoch: int | None = None
    by_hook: bool = True

    @property
    def changes(self) -> int:
        """Steps of the optimizer; the last iteration makes one too."""
        return ceil(self.iterations / self.every)

    def advice(self) -> str:
        """What to set so that the weights change often enough; empty if they do.

        >>> Pace(iterations=9, every=128, images=16, an_epoch=3).advice()
        'set GlobalBatchSizeHook.global_batch_size to 16 (9 changes) and train_cfg.max_epochs to 4'
        >>> Pace(iterations=900, every=128, images=16, an_epoch=3).advice()
        'set GlobalBatchSizeHook.global_batch_size to 48 (300 changes)'
        """
        rare = self.an_epoch is not None and self.every > self.an_epoch
        if self.changes >= FEW and not rare:
            return ''
        # As large as it may be: the nearest to what was asked for.
        every = max(1, min(self.every, self.iterations // FEW, self.an_epoch or self.every))
        better = self._replace(every=every)
        settings = []
        if every < self.every and self.by_hook:
            settings.append(f'GlobalBatchSizeHook.global_batch_size to {every * self.images}')
        elif every < self.every:
            settings.append(f'optim_wrapper.accumulative_counts to {every}')
        if settings:
            settings[0] += f' ({better.changes} changes)'
        if better.changes < FEW and self.an_epoch is None:
            settings.append(f'train_cfg.max_iters to {FEW * every}')
        elif better.changes < FEW and self.an_epoch:
            settings.append(f'train_cfg.max_epochs to {ceil(FEW * every / self.an_epoch)}')
        return f'set {" and ".join(settings)}'


def announce_pace(runner: Runner) -> None:
    """Log how often the weights will change, and warn if that is next to never."""
    loop, wrapper = runner.train_loop, runner.optim_wrapper
    an_epoch = len(loop.dataloader) if isinstance(loop, EpochBasedTrainLoop) else None
    if an_epoch == 0:
        images = len(loop.dataloader.dataset)
        print_log(
            f'The weights never change: {images} image(s) make no full batch. Set '
            f'train_dataloader.batch_size to at most {max(1, images // runner.world_size)}',
            logger='current',
            level=logging.WARNING,
        )
        return
    pace = Pace(
        iterations=loop.max_iters,
        every=getattr(wrapper, '_accumulative_counts', 1),
        images=runner.world_size * loop.dataloader.batch_sampler.batch_size,
        an_epoch=an_epoch,
        by_hook=any(isinstance(hook, GlobalBatchSizeHook) for hook in runner.hooks),
    )
    times = 'once' if pace.changes == 1 else f'{pace.changes} times'
    how = 'in every iteration' if pace.every == 1 else f'every {pace.every} iterations'
    epoch = '' if an_epoch is None else f', an epoch has {an_epoch}'
    advice = pace.advice()
    print_log(
        f'The weights change {times} in this run, {how} of {pace.images} images{epoch}'
        + (f': {advice}' if advice else ''),
        logger='current',
        level=logging.WARNING if advice else logging.INFO,
    )
