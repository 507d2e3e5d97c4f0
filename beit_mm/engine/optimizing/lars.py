"""LARS: a step of a layer is as long as its weights allow (arXiv 1708.03888)."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ...registry import OPTIMIZERS


@OPTIMIZERS.register_module()
class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling, for linear probes with batches of many thousands (MAE, A).

    With the gradient g of a parameter w, the weight decay d and the trust coefficient c:

        u = g + d w,  u <- c |w| / |u| u,  m <- momentum m + u,  w <- w - lr m

    Parameters of one dimension, biases and norms, have u = g: no decay, no scaling. Where w or u
    is zero there is no scaling.

    Args:
        params: As of any optimizer.
        lr: Learning rate, at least 0.
        momentum: At least 0 and less than 1.
        weight_decay: At least 0.
        trust_coefficient: More than 0.

    Raises:
        ValueError: If a number is out of its range.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
    ) -> None:
        for name, value in (('lr', lr), ('weight_decay', weight_decay)):
            if not value >= 0:
                raise ValueError(f'{name} is {value}; it must be at least 0')
        if not 0 <= momentum < 1:
            raise ValueError(f'momentum is {momentum}; it must be at least 0 and less than 1')
        if not trust_coefficient > 0:
            raise ValueError(f'trust_coefficient is {trust_coefficient}; it must be more than 0')
        defaults = dict(
            lr=lr,
            momentum=momentum,
            weight_decay=weight_decay,
            trust_coefficient=trust_coefficient,
        )
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient.

        Args:
            closure: Computes the loss and its gradients anew, or None.

        Returns:
            What the closure returns.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group['params']:
                if parameter.grad is None:
                    continue
                update = parameter.grad
                if parameter.ndim > 1:
                    update = update.add(parameter, alpha=group['weight_decay'])
                    update = update * _trust(parameter, update, group['trust_coefficient'])
                kept = self.state[parameter]
                if 'momentum_buffer' not in kept:
                    kept['momentum_buffer'] = torch.zeros_like(parameter)
                moving = kept['momentum_buffer'].mul_(group['momentum']).add_(update)
                parameter.add_(moving, alpha=-group['lr'])
        return loss


def _trust(parameter: Tensor, update: Tensor, coefficient: float) -> Tensor:
    """c |w| / |u|, or 1 where one of them is zero; on the device, without a wait of the host."""
    of_weights, of_update = parameter.norm(), update.norm()
    both = (of_weights > 0) & (of_update > 0)
    return torch.where(both, coefficient * of_weights / of_update, 1.0)
