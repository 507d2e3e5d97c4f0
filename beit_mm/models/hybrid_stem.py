"""The hybrid of ViT (3.1, 4.1): a ResNet makes the feature map whose patches become tokens."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ..component import Component
from ..layers.standardized_conv import StandardizedConv
from ..registry import MODELS

GROUPS = 32
# Of the root, and of the first stage inside its blocks; it doubles with each stage.
WIDTH = 64
# How much wider a block is outside.
EXPANSION = 4


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, channels)


class Root(nn.Module):
    """7 x 7 convolution, norm, ReLU and 3 x 3 maxima, each of the outer two with stride 2."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.conv = StandardizedConv(in_channels, WIDTH, kernel_size=7, stride=2)
        self.norm = _norm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, 64, H/4, W/4)."""
        x = F.relu(self.norm(self.conv(x)), inplace=True)
        # Of an even size: the maxima as 'SAME' pads them, as no number here is below 0.
        return F.max_pool2d(x, kernel_size=3, stride=2, ceil_mode=True)


class Shortcut(nn.Module):
    """1 x 1 convolution and norm, where a block changes the size."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv = StandardizedConv(in_channels, out_channels, kernel_size=1, stride=stride)
        self.norm = _norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H / stride, W / stride)."""
        return self.norm(self.conv(x))


class Bottleneck(nn.Module):
    """Residual unit: 1 x 1, 3 x 3 with the stride, 1 x 1; ReLU behind the sum.

    Args:
        in_channels: Channels of the input.
        width: Channels inside; outside there are four times as many.
        stride: Of the 3 x 3 convolution.
        shortcut: Whether the input is projected before it is added.
    """

    def __init__(self, in_channels: int, width: int, stride: int, shortcut: bool) -> None:
        super().__init__()
        out_channels = EXPANSION * width
        self.shortcut = Shortcut(in_channels, out_channels, stride) if shortcut else nn.Identity()
        self.conv1 = StandardizedConv(in_channels, width, kernel_size=1)
        self.norm1 = _norm(width)
        self.conv2 = StandardizedConv(width, width, kernel_size=3, stride=stride)
        self.norm2 = _norm(width)
        self.conv3 = StandardizedConv(width, out_channels, kernel_size=1)
        self.norm3 = _norm(out_channels)
        # The branch begins at zero, as the release has it.
        nn.init.zeros_(self.norm3.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, 4 width, H / stride, W / stride)."""
        residual = self.shortcut(x)
        x = F.relu(self.norm1(self.conv1(x)), inplace=True)
        x = F.relu(self.norm2(self.conv2(x)), inplace=True)
        return F.relu(residual + self.norm3(self.conv3(x)), inplace=True)


@MODELS.register_module()
class HybridStem(nn.Module):
    """ResNet with group norm and standardised weights, in front of a Transformer's patches.

    The ViT paper's is BiT's ResNet-50 in two forms: (3, 4, 6, 3), whose feature map is 32 times
    smaller than the image, and (3, 4, 9), which has the fourth stage's blocks in the third and
    is 16 times smaller. AugReg (arXiv 2106.10270) adds (2, 2, 2, 2), ResNet-26, and (), the root
    alone, 4 times smaller. timm has them with these names: ``vit_large_r50_s32``,
    ``vit_base_r50_s16``, ``vit_small_r26_s32``, ``vit_tiny_r_s16_p8``.

    Initial values are the release's: LeCun's normal for convolutions, zero for the scale of the
    last norm of each block. Weights for other bands are fitted as those of patches are; as each
    kernel is then standardised anew, an image of equal bands gives nearly the same output.

    Args:
        stages: Blocks of each stage, at most four.
        in_channels: Channels of the input.

    Attributes:
        stride: How many times smaller the feature map is: 4 for the root and the first stage, twice
            that for each stage behind it.
        out_channels: Channels of the feature map.

    Raises:
        ValueError: If ``stages`` are more than four, or one has no block.
    """

    # The layer that takes the image's bands.
    INPUT = 'root.conv'

    def __init__(self, stages: Sequence[int] = (3, 4, 9), in_channels: int = 3) -> None:
        super().__init__()
        if len(stages) > 4 or any(not isinstance(n, int) or n < 1 for n in stages):
            raise ValueError(
                f'stages is {stages!r}; it must be the numbers of blocks of at most four stages'
            )
        self.stride = stride_for(stages)
        self.root = Root(in_channels)
        self.stages = nn.ModuleList()
        channels = WIDTH
        for index, depth in enumerate(stages):
            width = WIDTH * 2**index
            blocks = [Bottleneck(channels, width, 2 if index else 1, shortcut=True)]
            channels = EXPANSION * width
            blocks += [Bottleneck(channels, width, 1, shortcut=False) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(*blocks))
        self.out_channels = channels

    @staticmethod
    def stride_of(component: Component) -> int:
        """How many times smaller than the image is the feature map that a config describes."""
        return stride_for(component['stages'])

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W), multiples of the stride -> (B, out_channels, H/s, W/s)."""
        x = self.root(x)
        for stage in self.stages:
            x = stage(x)
        return x


def stride_for(stages: Sequence[int]) -> int:
    """How many times smaller than the image the feature map of these stages is.

    >>> stride_for(()), stride_for((3, 4, 9)), stride_for((3, 4, 6, 3))
    (4, 16, 32)
    """
    return 4 * 2 ** max(0, len(stages) - 1)
