"""How weights begin."""

from torch import Tensor, nn

INIT_STD = 0.02
# Of the biases in ViT's feed-forward halves.
BIAS_STD = 1e-6


def trunc_normal_(tensor: Tensor) -> None:
    """Truncated normal, cut at one standard deviation as the released code does."""
    nn.init.trunc_normal_(tensor, std=INIT_STD, a=-INIT_STD, b=INIT_STD)


def init_projection_(layer: nn.Linear | nn.Conv2d) -> None:
    """Truncated normal for the weights, zero for the biases."""
    trunc_normal_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def init_by_xavier_(model: nn.Module) -> None:
    """Xavier's uniform for linear layers and for projections of patches, seen as a matrix."""
    for layer in model.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            nn.init.xavier_uniform_(layer.weight.flatten(1))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
