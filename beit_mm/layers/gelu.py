"""GELU whose backward pass, on the CPU, writes over the gradient that it is given."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules import module as torch_module

from .compiling import is_compiling


class _GeluInPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return F.gelu(x)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.gelu_backward.grad_input(grad, x, grad_input=grad)


def gelu_in_place(x: Tensor, consumer: nn.Module) -> Tensor:
    """``F.gelu(x)``, its plain twin, for an output that goes to one linear layer alone.

    That layer's backward pass makes the gradient for this one and nobody else reads it, so that
    its memory can take the result: of a batch of 8 it is 19 MB a block, which on a CPU the system
    would have to hand out anew (measured: 6 % of the whole backward pass of BEiT-B).

    Args:
        x: Any shape.
        consumer: The linear layer. If somebody watches its gradients, or another module stands in
            its place, the plain twin runs.
    """
    watched = consumer._backward_hooks or consumer._backward_pre_hooks
    watched = watched or torch_module._global_backward_hooks
    alone = isinstance(consumer, nn.Linear) and not watched
    if x.device.type != 'cpu' or not torch.is_grad_enabled() or not alone or is_compiling():
        return F.gelu(x)
    return _GeluInPlace.apply(x)
