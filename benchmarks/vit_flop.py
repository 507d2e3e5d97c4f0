"""FLOP of a Vision Transformer, counted as in step.py: multiply-adds times two of the products.

block      2 N (4 C^2 + 2 C F) + 4 N^2 C         N tokens, width C, feed-forward width F
forward    2 P C 3 p^2 + blocks                  P patches of p x p, N = 1 + P
"""


def blocks_flop(size: dict, layers: int, tokens: int) -> float:
    """FLOP of so many blocks, forward."""
    width, feedforward = size['embed_dims'], size['feedforward_channels']
    products = 2 * tokens * (4 * width**2 + 2 * width * feedforward)
    return layers * (products + 4 * tokens**2 * width)


def forward_flop(size: dict, patches: int, patch: int) -> float:
    """FLOP of one image."""
    embedding = 2 * patches * size['embed_dims'] * 3 * patch**2
    return embedding + blocks_flop(size, size['num_layers'], 1 + patches)
