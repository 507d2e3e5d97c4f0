"""The feed-forward half of a Transformer block."""

from torch import Tensor, nn

from .gelu import gelu_in_place
from .linear import Linear


class Mlp(nn.Module):
    """The feed-forward half of a block: two linear layers around a GELU.

    Args:
        embed_dims: Width of the tokens.
        feedforward_channels: Width in between.
    """

    def __init__(self, embed_dims: int, feedforward_channels: int) -> None:
        super().__init__()
        self.fc1 = Linear(embed_dims, feedforward_channels)
        self.fc2 = Linear(feedforward_channels, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        return self.fc2(gelu_in_place(self.fc1(x), self.fc2))
