"""From pixels to tokens (BEiT 2.1.1)."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn


def to_pair(size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) of a size that may be given as one number."""
    if isinstance(size, int):
        return size, size
    height, width = size
    return int(height), int(width)


def patch_grid(size: tuple[int, int], patch_size: tuple[int, int]) -> tuple[int, int] | None:
    """Patches (h, w) of an image of a size in pixels; None if it does not divide into patches.

    >>> patch_grid((224, 256), (16, 16))
    (14, 16)
    >>> patch_grid((224, 250), (16, 16))
    """
    (height, width), (patch_h, patch_w) = size, patch_size
    if isinstance(height, Tensor):  # In torch.jit.trace, which makes a program of one size.
        height, width = int(height), int(width)
    if min(size) < 1 or min(patch_size) < 1 or height % patch_h or width % patch_w:
        return None
    return height // patch_h, width // patch_w


def whole_grid(size: tuple[int, int], patch_size: tuple[int, int]) -> tuple[int, int]:
    """:func:`patch_grid` of an image that must divide.

    Raises:
        ValueError: If it does not.
    """
    grid = patch_grid(size, patch_size)
    if grid is None:
        raise ValueError(
            f'an image of {size[0]} x {size[1]} pixels does not divide into patches of '
            f'{patch_size[0]} x {patch_size[1]}: crop or resize it, or let the data '
            "preprocessor pad it (pad_size_divisor in MMPretrain's, size_divisor in "
            "MMSegmentation's)"
        )
    return grid


class PatchEmbed(nn.Module):
    """Cut an image, or a feature map of it, into patches and project each to a token (2.1.1).

    Args:
        in_channels: Channels of the image.
        embed_dims: Width of the tokens.
        patch_size: Height and width of a patch in pixels of the image.
        stem: What makes the feature map, such as :class:`beit_mm.models.HybridStem`: with
            ``stride``, ``out_channels`` and the name of its first layer, ``INPUT``.

    Raises:
        ValueError: If the patch is no multiple of the stem's stride, or there is no channel.
    """

    def __init__(
        self, in_channels: int, embed_dims: int, patch_size: tuple[int, int], stem: Any = None
    ) -> None:
        super().__init__()
        if in_channels < 1:
            raise ValueError(f'in_channels is {in_channels}; it must be above 0')
        stride = 1 if stem is None else stem.stride
        if any(size % stride for size in patch_size):
            raise ValueError(
                f'patch_size is {patch_size[0]} x {patch_size[1]} pixels; it must be a multiple of '
                f"the stem's stride, {stride}"
            )
        self.stem = stem
        kernel = patch_size[0] // stride, patch_size[1] // stride
        channels = in_channels if stem is None else stem.out_channels
        self.proj = nn.Conv2d(channels, embed_dims, kernel, stride=kernel)
        # Which layer takes the bands of an image.
        self.input_name = 'proj' if stem is None else f'stem.{stem.INPUT}'

    @property
    def input(self) -> Any:
        """The layer that takes the bands of an image, with ``weight`` and ``in_channels``."""
        return self.get_submodule(self.input_name)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, H/p * W/p, C), row by row."""
        if self.stem is not None:
            x = self.stem(x)
        return self.proj(x).flatten(2).transpose(1, 2)
