"""A tokenizer's schedules, and a warning when its codebook collapses."""

import math

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from ...registry import HOOKS
from ..measuring.collapse import could_be_used, what_to_try


def cosine_anneal(start: float, end: float, steps: int, step: int) -> float:
    """Half a cosine from ``start`` at step 0 to ``end`` at ``steps``, constant after.

    >>> [round(cosine_anneal(1.0, 0.0, 10, step), 2) for step in (0, 5, 10, 20)]
    [1.0, 0.5, 0.0, 0.0]
    """
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
class CodebookHook(Hook):
    """Warn when a tokenizer's codebook collapses: most of its tokens stand for nothing.

    Looks at ``tokenizer/codes_used``, which :class:`TokenizerMetric` counts over the validation
    images, and, every 500 iterations, at the ``codes_used`` of a training batch.

    Args:
        min_share: How much must be in use of the codes that so many places would show if all were
            used alike: of many places the vocabulary.
    """

    INTERVAL = 500

    def __init__(self, min_share: float = 0.1) -> None:
        if not 0 < min_share <= 1:
            raise ValueError(f'min_share is {min_share}; it must be more than 0, and at most 1')
        self.min_share = min_share

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        """Compare what was counted with the vocabulary."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        used = (metrics or {}).get('tokenizer/codes_used')
        if metrics is None or used is None:
            return
        possible = could_be_used(model.vocab_size, metrics['tokenizer/places'])
        if used < self.min_share * possible:
            self._warn(model, runner, f'{used} of {model.vocab_size} tokens are used')

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Compare what a batch used with what it could."""
        if 'codes_used' not in (outputs or {}) or not self.every_n_train_iters(
            runner, self.INTERVAL
        ):
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        places = sum(i.shape[-2] * i.shape[-1] // model.stride**2 for i in data_batch['inputs'])
        possible, used = could_be_used(model.vocab_size, places), int(outputs['codes_used'])
        if used < self.min_share * possible:
            told = f'a batch uses {used} tokens where it could use {possible:.0f}'
            self._warn(model, runner, told)

    def _warn(self, model, runner, what: str) -> None:
        runner.logger.warning(
            f'The codebook collapses: {what}, fewer than {self.min_share:.0%}. What to try: '
            f'{what_to_try(model.quantizer)}'
        )
