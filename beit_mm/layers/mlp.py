"""The feed-forward half of a Transformer block."""

import torch.nn.functional as F
from torch import Tensor, nn

from .gelu import gelu_in_place
from .linear import Linear


class Mlp(nn.Module):
    """The feed-forward half of a block: two linear layers around a GELU.

    Args:
        embed_dims: Width of the tokens.
        feedforward_channels: Width in between.
        dropout: In training, behind the GELU and behind the second layer.
    """

    def __init__(self, embed_dims: int, feedforward_channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.fc1 = Linear(embed_dims, feedforward_channels)
        self.fc2 = Linear(feedforward_channels, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        hidden = gelu_in_place(self.fc1(x), self.fc2)
        if not self.dropout or not self.training:
            return self.fc2(hidden)
        return F.dropout(self.fc2(F.dropout(hidden, self.dropout)), self.dropout)
