"""The weights that a run starts from, and the network that they are of."""

from typing import Any

from ..models import load
from .choices import Sizes

NONE = 'none'


def values_of_weights(weights: str, sizes: Sizes, size: int | None) -> dict[str, Any]:
    """Variables that the recipes behind a pre-training share.

    Args:
        weights: What ``beit_mm.load`` takes, or 'none' for a network of ``sizes`` from scratch.
        sizes: Chosen by the images and the machine.
        size: Of an image, if the user says so; without, that of the weights.
    """
    if weights == NONE:
        return dict(
            weights=None,
            arch=sizes.arch,
            embed_dims=sizes.embed_dims,
            image_size=sizes.image_size,
            patch_size=sizes.patch_size,
            use_abs_pos_emb=sizes.is_small,
            layer_scale=1.0 if sizes.is_small else 0.1,
            layer_decay_rate=1.0,
        )
    model = load(weights)
    block = model.blocks[0]
    patch = model.patch_size[0]
    return dict(
        weights=dict(type='Pretrained', checkpoint=weights),
        arch=dict(
            embed_dims=model.embed_dims,
            num_layers=model.num_layers,
            num_heads=block.attn.num_heads,
            feedforward_channels=block.mlp.fc1.out_features,
        ),
        embed_dims=model.embed_dims,
        image_size=size or model.grid[0] * patch,
        patch_size=patch,
        use_abs_pos_emb=model.pos_embed is not None,
        layer_scale=0.0 if isinstance(block.gamma_1, float) else 0.1,
        layer_decay_rate=0.65 if model.num_layers >= 12 else 0.75,
    )
