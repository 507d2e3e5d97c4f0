"""Encoder and decoder of DALL-E's image tokenizer (arXiv 2102.12092, A)."""

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.linear import PointwiseConv


def conv(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    """A convolution that keeps the size, initialised as DALL-E's: std 1/sqrt(fan_in), no bias."""
    kind = PointwiseConv if kernel_size == 1 else nn.Conv2d
    layer = kind(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
    nn.init.normal_(layer.weight, std=1 / math.sqrt(in_channels * kernel_size**2))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def padded_conv(layer: nn.Conv2d, images: Tensor) -> Tensor:
    """``layer(images)``, its plain twin, with channels of zeros up to a multiple of eight.

    The half-precision convolutions of NVIDIA's tensor cores take channels by eights; three go
    through a kernel several times slower (measured: 3 of 23 ms for DALL-E's encoder on an H100).

    Args:
        layer: Without groups or dilation.
        images: (B, C, H, W).

    Returns:
        (B, out_channels, H', W').
    """
    extra = -images.shape[1] % 8
    return F.conv2d(
        F.pad(images, (0, 0, 0, 0, 0, extra)),
        F.pad(layer.weight, (0, 0, 0, 0, 0, extra)),
        layer.bias,
        stride=layer.stride,
        padding=layer.padding,
    )


class ResidualBlock(nn.Module):
    """x + gain * [ReLU conv] x 4, through a bottleneck of a quarter of the output's width.

    Args:
        in_channels, out_channels: Widths; where they differ a 1x1 convolution carries x.
        kernel_sizes: Of the four convolutions.
        gain: Weight of the branch, 1 / (number of blocks)^2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_sizes: tuple[int, int, int, int],
        gain: float,
    ) -> None:
        super().__init__()
        self.gain = gain
        inner = max(1, out_channels // 4)
        self.id_path = (
            nn.Identity() if in_channels == out_channels else conv(in_channels, out_channels, 1)
        )
        widths = [in_channels, inner, inner, inner, out_channels]
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, kernel_size in enumerate(kernel_sizes, start=1):
            # The first one's input is the identity path's too.
            layers[f'relu_{number}'] = nn.ReLU(inplace=number > 1)
            layers[f'conv_{number}'] = conv(widths[number - 1], widths[number], kernel_size)
        self.res_path = nn.Sequential(layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) -> (B, out_channels, h, w)."""
        return torch.add(self.id_path(x), self.res_path(x), alpha=self.gain)


def _groups(
    widths: list[int], blocks_per_group: int, kernel_sizes: tuple, resample: str, resampler
) -> OrderedDict:
    """Groups of residual blocks ``widths[0] -> widths[1] -> ...``, resampled in between."""
    num_groups = len(widths) - 1
    gain = 1 / (num_groups * blocks_per_group) ** 2
    groups = OrderedDict()
    for number in range(1, num_groups + 1):
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for index in range(blocks_per_group):
            in_channels = widths[number - 1] if index == 0 else widths[number]
            layers[f'block_{index + 1}'] = ResidualBlock(
                in_channels, widths[number], kernel_sizes, gain
            )
        if number < num_groups:
            layers[resample] = resampler()
        groups[f'group_{number}'] = nn.Sequential(layers)
    return groups


def build_encoder(
    in_channels: int, hidden: int, num_groups: int, blocks_per_group: int, out_channels: int
) -> nn.Sequential:
    """Images -> (B, out_channels, h, w), at 1 / 2^(num_groups - 1) of the size."""
    widths = [hidden, *(hidden * 2**index for index in range(num_groups))]
    return nn.Sequential(
        OrderedDict(
            input=conv(in_channels, hidden, 7),
            **_groups(widths, blocks_per_group, (3, 3, 3, 1), 'pool', lambda: nn.MaxPool2d(2)),
            output=nn.Sequential(
                OrderedDict(relu=nn.ReLU(inplace=True), conv=conv(widths[-1], out_channels, 1))
            ),
        )
    )


def build_decoder(
    hidden: int,
    num_groups: int,
    blocks_per_group: int,
    code_dims: int,
    decoder_input: int,
    out_channels: int,
) -> nn.Sequential:
    """Codes, (B, code_dims, h, w), one-hot, relaxed or vectors -> (B, out_channels, H, W)."""
    widths = [decoder_input, *(hidden * 2**index for index in reversed(range(num_groups)))]
    return nn.Sequential(
        OrderedDict(
            input=conv(code_dims, decoder_input, 1),
            **_groups(
                widths,
                blocks_per_group,
                (1, 3, 3, 3),
                'upsample',
                lambda: nn.Upsample(scale_factor=2, mode='nearest'),
            ),
            output=nn.Sequential(
                OrderedDict(relu=nn.ReLU(inplace=True), conv=conv(widths[-1], out_channels, 1))
            ),
        )
    )
