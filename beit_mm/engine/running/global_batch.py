"""A global batch that does not depend on the number of processes."""

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop

from ...registry import HOOKS


@HOOKS.register_module()
class GlobalBatchSizeHook(Hook):
    """Keep a recipe's global batch whatever the number of processes, by accumulating gradients.

    The global batch is processes x batch size a process x accumulated iterations; this sets the
    last of the three before training starts, and says so in the log.

    Args:
        global_batch_size: Images an optimizer step sees in all.

    Raises:
        ValueError: If it is less than 1; in ``before_train``, if processes x batch size does not
            divide it, or if it takes accumulation in a loop that counts iterations, whose
            schedules would then run ahead of the optimizer steps.
    """

    def __init__(self, global_batch_size: int) -> None:
        if global_batch_size < 1:
            raise ValueError(f'global_batch_size is {global_batch_size}; it must be at least 1')
        self.global_batch_size = global_batch_size

    def before_train(self, runner) -> None:
        """Set the number of accumulated iterations."""
        batch_size = runner.train_dataloader.batch_size
        at_once = runner.world_size * batch_size
        if self.global_batch_size % at_once:
            raise ValueError(
                f'global_batch_size {self.global_batch_size} is not a multiple of '
                f'{runner.world_size} process(es) x train_dataloader.batch_size {batch_size} = '
                f'{at_once}; {_what_divides(self.global_batch_size, runner.world_size)}'
            )
        accumulated = self.global_batch_size // at_once
        if accumulated > 1 and not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ValueError(
                f'global_batch_size {self.global_batch_size} takes {accumulated} iterations of '
                f'{at_once} images, but train_cfg.max_iters and the schedules count iterations; '
                f'set train_dataloader.batch_size to {self.global_batch_size / runner.world_size:g}'
                ', or scale lr and schedules and drop this hook'
            )
        wrapper = runner.optim_wrapper
        wrapper._accumulative_counts = accumulated
        loop = runner.train_loop
        # Of gradients that a checkpoint holds mmengine would say that they are lost.
        held = any(parameter.grad is not None for parameter in runner.model.parameters())
        wrapper.initialize_count_status(runner.model, 0 if held else loop.iter, loop.max_iters)
        wrapper._inner_count = loop.iter
        print_log(
            f'Global batch {self.global_batch_size} = {runner.world_size} process(es) x '
            f'{batch_size} images x {accumulated} accumulated iteration(s)',
            logger='current',
        )


def _what_divides(global_batch: int, processes: int) -> str:
    """Which batch sizes make a global batch, or which numbers of processes.

    >>> _what_divides(2048, 3)
    '2048 does not divide among 3 processes: take 2 or 4 of them'
    >>> _what_divides(48, 2)
    'choose a batch_size of 1, 2, 3, 4, 6, 8, 12, 24'
    """
    share, rest = divmod(global_batch, processes)
    if not rest:
        sizes = [size for size in range(1, share + 1) if share % size == 0]
        return f'choose a batch_size of {", ".join(map(str, sizes[-10:]))}'
    fewer = next(n for n in range(processes, 0, -1) if global_batch % n == 0)
    more = next(n for n in range(processes, global_batch + 1) if global_batch % n == 0)
    return (
        f'{global_batch} does not divide among {processes} processes: take {fewer} or {more} of '
        'them'
    )
