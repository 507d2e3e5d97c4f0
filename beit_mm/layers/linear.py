"""Linear layers by the faster of PyTorch's two CPU libraries."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..machine import choose_products, processor
from .compiling import is_compiling

# Multiply-adds from which oneDNN's start-up pays, on torch 2.1 and later alike.
MIN_PRODUCTS = 2**25


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, '_linear_pointwise')


HAS_ONEDNN = _has_onednn()
# Which library takes large products here.
PRODUCTS = choose_products(processor(), HAS_ONEDNN)


def _autocast_on_cpu() -> bool:
    if hasattr(torch, 'get_autocast_dtype'):  # torch 2.4 renamed the question
        return torch.is_autocast_enabled('cpu')
    return torch.is_autocast_cpu_enabled()


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(..., K) x (N, K) -> (..., N) by oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, 'none', [], '')


class _OneDNNLinear(torch.autograd.Function):
    """F.linear whose three products, forward and backward, are oneDNN's."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad
        rows = grad.flatten(0, -2)
        grad_x = _product(grad, weight.t().contiguous()) if need_x else None
        grad_weight = _product(rows.t(), x.flatten(0, -2).t()) if need_weight else None
        return grad_x, grad_weight, rows.sum(0) if need_bias else None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear``, which is its plain twin, at up to twice the speed on some processors.

    Only large float32 products on the CPU go another way here, and only on processors where
    ``PRODUCTS`` says that it is the faster one.

    Args:
        x: (..., K).
        weight: (N, K).
        bias: (N,), or None.

    Returns:
        (..., N).
    """
    if (
        PRODUCTS.chosen == 'oneDNN'
        and not is_compiling()  # the compiler takes oneDNN's product for inference alone
        and x.device.type == 'cpu'
        and x.dtype == weight.dtype == torch.float32
        and x.numel() * len(weight) >= MIN_PRODUCTS
        and not _autocast_on_cpu()
    ):
        return _OneDNNLinear.apply(x, weight, bias)
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """``nn.Linear`` by :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        return linear(x, self.weight, self.bias)


class PointwiseConv(nn.Conv2d):
    """A 1x1 convolution of channels-last images, which is a linear layer, by :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, out_channels, h, w), in the memory format of the input."""
        # Without gradients: what follows in training may write over a view, which autograd forbids.
        if (
            x.device.type == 'cpu'
            and not torch.is_grad_enabled()
            and x.is_contiguous(memory_format=torch.channels_last)
        ):
            x = linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
            return x.permute(0, 3, 1, 2)
        return super().forward(x)
