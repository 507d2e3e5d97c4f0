"""The norm of all gradients: computed once a step, and not waited for."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class ClipInOrder:
    """``clip_grad_norm_`` for mmengine's ``OptimWrapper.clip_func``, which leaves the norm there.

    mmengine reads the norm of every step, for which the host waits until the device has done the
    backward pass. This one keeps it as a tensor for whoever wants it, and adds up the parameters
    in the order of the model, so that the sum's last bit does not depend on the groups.

    Args:
        parameters: All that are clipped.

    Attributes:
        norm: () of the last step, before clipping; None before the first.
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self.parameters = list(parameters)
        self.norm: Tensor | None = None

    def __call__(self, _parameters: list[Tensor], **settings) -> None:
        """Clip; nothing is returned, so that mmengine logs nothing."""
        self.norm = nn.utils.clip_grad_norm_(self.parameters, **settings)


def clip_in_order(optim_wrapper: Any, model: nn.Module) -> ClipInOrder | None:
    """Have a wrapper that clips by norm do so by :class:`ClipInOrder`, and return that.

    None of one that does not clip by norm: of value clipping there is no norm, and several
    optimizers have no wrapper in common.
    """
    if getattr(optim_wrapper, 'clip_func', None) is nn.utils.clip_grad_norm_:
        own = {id(p) for g in optim_wrapper.optimizer.param_groups for p in g['params']}
        optim_wrapper.clip_func = ClipInOrder(p for p in model.parameters() if id(p) in own)
    clipping = getattr(optim_wrapper, 'clip_func', None)
    return clipping if isinstance(clipping, ClipInOrder) else None


def total_norm(parameters: Iterable[Tensor]) -> Tensor:
    """Euclidean norm () of the gradients of all parameters that have one."""
    parameters = [p for p in parameters if p.grad is not None]
    if hasattr(nn.utils, 'get_total_norm'):
        return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    # Before torch 2.6: infinity clips nothing, finite gradients are multiplied by one.
    return nn.utils.clip_grad_norm_(parameters, torch.inf)
