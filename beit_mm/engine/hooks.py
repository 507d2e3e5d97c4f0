"""Hooks: the tokenizer's schedules, and a global batch that does not depend on the machine."""

import math

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop

from ..registry import HOOKS


def cosine_anneal(start: float, end: float, steps: int, step: int) -> float:
    """Half a cosine from ``start`` at step 0 to ``end`` at ``steps``, constant after."""
    progress = min(step / steps, 1.0)
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


@HOOKS.register_module()
class DVAEAnnealingHook(Hook):
    """Move a :class:`DiscreteVAE`'s ``temperature`` and ``kl_weight`` along cosine schedules.

    Both are functions of the Runner's iteration alone, so a resumed run goes on where it was.
    The defaults are DALL-E's (arXiv 2102.12092, A.2).

    Args:
        temperature: Start and end of the Gumbel-softmax temperature.
        temperature_steps: Iterations from start to end.
        kl_weight: Start and end of beta.
        kl_steps: Iterations from start to end.
    """

    def __init__(
        self,
        temperature: tuple[float, float] = (1.0, 1 / 16),
        temperature_steps: int = 150_000,
        kl_weight: tuple[float, float] = (0.0, 6.6),
        kl_steps: int = 5_000,
    ) -> None:
        if min(temperature) <= 0:
            raise ValueError(f'temperature is {temperature}; both ends must be more than 0')
        for name, steps in (('temperature_steps', temperature_steps), ('kl_steps', kl_steps)):
            if steps < 1:
                raise ValueError(f'{name} is {steps}; it must be at least 1')
        self.temperature = (*temperature, temperature_steps)
        self.kl_weight = (*kl_weight, kl_steps)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Set both for the coming iteration."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.temperature = cosine_anneal(*self.temperature, runner.iter)
        model.kl_weight = cosine_anneal(*self.kl_weight, runner.iter)


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
                f'{at_once}; choose a batch_size that divides '
                f'{self.global_batch_size / runner.world_size:g}'
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
        wrapper.initialize_count_status(runner.model, loop.iter, loop.max_iters)
        print_log(
            f'Global batch {self.global_batch_size} = {runner.world_size} process(es) x '
            f'{batch_size} images x {accumulated} accumulated iteration(s)',
            logger='current',
        )


@HOOKS.register_module()
class CodebookHook(Hook):
    """Warn when a tokenizer's codebook collapses: most of its tokens stand for nothing.

    Looks at ``tokenizer/codes_used``, which :class:`TokenizerMetric` counts over the validation
    images.

    Args:
        min_share: Of the vocabulary, how much must be in use.
    """

    def __init__(self, min_share: float = 0.1) -> None:
        if not 0 < min_share <= 1:
            raise ValueError(f'min_share is {min_share}; it must be more than 0, and at most 1')
        self.min_share = min_share

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        """Compare what was counted with the vocabulary."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        used = (metrics or {}).get('tokenizer/codes_used')
        if used is not None and used < self.min_share * model.vocab_size:
            runner.logger.warning(
                f'The codebook collapses: {used} of {model.vocab_size} tokens are used, fewer than '
                f'{self.min_share:.0%}. A larger kl_weight early on (DVAEAnnealingHook), a lower '
                'learning rate or a smaller vocab_size are what helps'
            )
