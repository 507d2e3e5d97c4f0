"""Convolutions of weights with mean 0 and variance 1 (Qiao et al., arXiv 1903.10520)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .kept_in_eval import KeptInEval

# Added to the variance, as timm does. The JAX release adds 1e-5 to the standard deviation; the
# group norm behind each convolution makes both the same to rounding.
EPS = 1e-8
# Standard deviation of a unit normal that is cut at 2.
STD_OF_CUT_NORMAL = 0.87962566103423978


def plain_standardized(weight: Tensor) -> Tensor:
    """The formula: of each output channel, (w - mean) / sqrt(variance + 1e-8).

    Args:
        weight: (out, in, h, w) floating.

    Returns:
        The same shape.
    """
    rows = weight.flatten(1)
    variance, mean = torch.var_mean(rows, dim=1, keepdim=True, correction=0)
    return ((rows - mean) / torch.sqrt(variance + EPS)).view_as(weight)


def standardized(weight: Tensor) -> Tensor:
    """:func:`plain_standardized` in one kernel, forward and backward; same argument and result."""
    return F.layer_norm(weight, weight.shape[1:], eps=EPS)


class StandardizedConv(nn.Module):
    """Convolution without a bias whose weights are standardised in each output channel.

    It pads with zeros as TensorFlow's 'SAME' does, the larger part behind: an image whose sides
    are multiples of the stride comes out smaller by exactly it. Evaluation standardises once.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the result.
        kernel_size: Height and width of the kernel.
        stride: Step, in both directions.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.stride = stride
        self.padding = max(0, kernel_size - stride)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self._standardized = KeptInEval(limit=1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """LeCun's normal, cut at two standard deviations, as the release has it."""
        std = 1 / (math.sqrt(self.weight[0].numel()) * STD_OF_CUT_NORMAL)
        nn.init.trunc_normal_(self.weight, std=std, a=-2 * std, b=2 * std)

    def train(self, mode: bool = True):
        """Set the mode; what evaluation has kept is forgotten."""
        self._standardized.clear()
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H / stride, W / stride); H, W are multiples of the stride."""
        weight = self._standardized.get(self.weight, (1, 1), lambda: standardized(self.weight))
        before, behind = self.padding // 2, self.padding - self.padding // 2
        if before == behind:
            return F.conv2d(x, weight, stride=self.stride, padding=before)
        return F.conv2d(F.pad(x, (before, behind) * 2), weight, stride=self.stride)
