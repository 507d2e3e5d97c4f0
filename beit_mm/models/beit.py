"""The BEiT backbone: one Vision Transformer for pre-training, classification and segmentation."""

from collections.abc import Iterator
from typing import Any

from torch import nn

from ..component import Component, Plan
from ..layers.initial_values import init_projection_, trunc_normal_
from ..registry import MODELS
from .vision_transformer import VisionTransformer


@MODELS.register_module()
class BEiT(VisionTransformer):
    """The Transformer of the BEiT paper (2.2), in every form that its tasks need.

    Pre-training uses ``out_type='raw'``, ``final_norm=True``, ``with_mask_token=True`` and one
    shared bias table; classification ``out_type='avg_featmap'`` and a table a block;
    segmentation ``out_type='featmap'`` with several ``out_indices``. Argument names follow
    MMPretrain's ``BEiTViT``. It differs from :class:`VisionTransformer` in its positions, in
    LayerScale, in its initial values, and in having no bias on the keys.

    Args:
        arch: 'tiny', 'small', 'base', 'large', 'huge', or a dict: ``embed_dims``, ``num_layers``,
            ``num_heads``, ``feedforward_channels``.
        use_abs_pos_emb: Whether to add learned absolute positions.
        use_rel_pos_bias: Whether each block has its own relative position table.
        use_shared_rel_pos_bias: Whether all blocks share one table; excludes the former.
        layer_scale_init_value: 0.1 for base, 1e-5 for large; 0 for no LayerScale.
        final_norm: Whether the last block's output passes a LayerNorm. Pre-training does;
            'avg_featmap' has its own norm in its place.
        initial_values: 'truncated-normal', the paper's; or 'xavier', those of
            :class:`VisionTransformer`, which suit a narrow network in a short run better
            (``docs/claims/beit.md``, beit-initial-values).
        settings: See :class:`VisionTransformer`.

    Raises:
        ValueError: If an argument is none of the above.
    """

    KEY_BIAS = False
    INITIAL_VALUES = ('truncated-normal', 'xavier')

    def __init__(
        self,
        arch: str | dict = 'base',
        use_abs_pos_emb: bool = False,
        use_rel_pos_bias: bool = True,
        use_shared_rel_pos_bias: bool = False,
        layer_scale_init_value: float = 0.1,
        final_norm: bool = False,
        initial_values: str = 'truncated-normal',
        **settings: Any,
    ) -> None:
        if initial_values not in self.INITIAL_VALUES:
            raise ValueError(
                f'initial_values {initial_values!r}: there are {", ".join(self.INITIAL_VALUES)}'
            )
        # Before the base, which gives them.
        self.initial_values = initial_values
        super().__init__(
            arch,
            positions='learned' if use_abs_pos_emb else None,
            use_rel_pos_bias=use_rel_pos_bias,
            use_shared_rel_pos_bias=use_shared_rel_pos_bias,
            layer_scale_init_value=layer_scale_init_value,
            final_norm=final_norm,
            **settings,
        )

    @classmethod
    def check_config(cls, component: Component, plan: Plan) -> Iterator[str]:
        """What cannot work in a config, see :class:`beit_mm.component.Component`."""
        yield from super().check_config(component, plan)
        if component['initial_values'] not in cls.INITIAL_VALUES:
            yield (
                f'{component.key}.initial_values is {component["initial_values"]!r}; '
                f'there are {", ".join(cls.INITIAL_VALUES)}'
            )
        if 'positions' in component.given:
            yield (
                f"{component.key}.positions is a VisionTransformer's; the positions of a "
                f'{cls.__name__} are use_abs_pos_emb, use_rel_pos_bias and use_shared_rel_pos_bias'
            )

    def reset_parameters(self) -> None:
        """Initialise as the paper says (2.5, appendix) and the released code does.

        Truncated normal for projections and tokens, zero for biases and relative tables; the last
        matrix of both branches of block l is divided by sqrt(2 l), which keeps the residual
        stream's variance in check as depth grows. Or as ViT does, see ``initial_values``.
        """
        if self.initial_values == 'xavier':
            super().reset_parameters()
            return
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                init_projection_(module)
        for tokens in self.tokens_and_positions():
            trunc_normal_(tokens)
        for depth, block in enumerate(self.blocks, start=1):
            block.rescale_(depth)
