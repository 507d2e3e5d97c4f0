"""What of a backbone is not trained: its first stages, and what nobody asks for."""

from typing import Any

from torch import nn


def frozen_modules(backbone: Any) -> list[nn.Module]:
    """What ``frozen_stages`` of a :class:`beit_mm.models.BEiT` freezes, single tokens apart."""
    stages = backbone.frozen_stages
    if stages < 0:
        return []
    frozen = [backbone.patch_embed, *backbone.blocks[:stages]]
    if stages > 0:
        frozen.append(backbone.rel_pos_bias)
    if stages == backbone.num_layers:
        frozen += [backbone.norm, backbone.fc_norm]
    return [module for module in frozen if module is not None]


def unused_modules(backbone: Any) -> list[nn.Module]:
    """What lies behind the last block that is asked for."""
    last = max(backbone.out_indices)
    norm = backbone.norm if last < backbone.num_layers - 1 else None
    return [module for module in (*backbone.blocks[last + 1 :], norm) if module is not None]


def freeze(backbone: Any) -> None:
    """Take the gradient from what is frozen or unused, and frozen stages out of training."""
    for module in frozen_modules(backbone):
        module.requires_grad_(False)
        module.eval()
    # DDP waits for the gradient of everything that needs one.
    for module in unused_modules(backbone):
        module.requires_grad_(False)
    if backbone.frozen_stages >= 0:
        positions = (backbone.pos_embed, backbone.pos_embed_shared)
        for tokens in (backbone.cls_token, backbone.mask_token, *positions):
            if tokens is not None:
                tokens.requires_grad_(False)
