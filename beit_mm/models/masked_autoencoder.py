"""Masked autoencoders: encode what is seen, predict what is not (arXiv 2111.06377)."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..component import Component, Plan
from ..layers.block import NORM_EPS, Block
from ..layers.initial_values import INIT_STD, init_by_xavier_
from ..layers.linear import Linear
from ..layers.patch_embed import to_pair, whole_grid
from ..layers.resize_positions import resize_absolute_positions
from ..layers.sine_cosine import sine_cosine
from ..registry import MODELS
from .masked_image_modeling import MaskedImageModeling


class Places(NamedTuple):
    """Which patches of each image are seen; both in order.

    Attributes:
        seen: (B, K) int64.
        hidden: (B, M) int64.
    """

    seen: Tensor
    hidden: Tensor


def split_places(mask: Tensor, num_hidden: int | None = None) -> Places:
    """Seen and hidden places of masks that hide as many patches of each image.

    Args:
        mask: (B, h, w) bool, True where hidden.
        num_hidden: How many, where that is known; then the host need not wait for a GPU to count.

    Raises:
        ValueError: If an image has more of them than another.
    """
    flat = mask.flatten(1)  # (B, N)
    counts = flat.sum(dim=1)
    if num_hidden is None:
        num_hidden = int(counts[0])
        if (counts != num_hidden).any():
            raise ValueError(
                f'the masks hide {sorted(set(counts.tolist()))} patches; a masked autoencoder '
                'needs masks that hide as many of each image'
            )
    else:
        # On a GPU the check is made there, later, without a wait.
        torch.ops.aten._assert_async.msg(
            (counts == num_hidden).all(),
            f'an image has not as many masked places as model.head.num_masked, {num_hidden}',
        )
    order = flat.to(torch.uint8).argsort(dim=1, stable=True)  # (B, N), seen ones first
    return Places(*order.split([flat.shape[1] - num_hidden, num_hidden], dim=1))


def take(tokens: Tensor, places: Tensor) -> Tensor:
    """Tokens at some places: (B, N, C) and (B, K) -> (B, K, C)."""
    return tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[2]))


@MODELS.register_module()
class MAEDecoder(BaseModule):
    """A small Transformer that fills in what the encoder has not seen; for pre-training alone (3).

    Args:
        encoder_dims: Width of the encoder's tokens.
        embed_dims: Width of its own.
        num_layers, num_heads: Of its blocks.
        feedforward_channels: Width inside of their feed-forward half; four times the width if None.
        img_size, patch_size: As the encoder's, for its positions, which are fixed.

    Raises:
        ValueError: If the width is no multiple of the heads and of four.
    """

    def __init__(
        self,
        encoder_dims: int = 768,
        embed_dims: int = 512,
        num_layers: int = 8,
        num_heads: int = 16,
        feedforward_channels: int | None = None,
        img_size: int | tuple[int, int] = 224,
        patch_size: int | tuple[int, int] = 16,
    ) -> None:
        super().__init__()
        self.grid = whole_grid(to_pair(img_size), to_pair(patch_size))
        self.embed = Linear(encoder_dims, embed_dims)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dims))
        self.pos_embed = nn.Parameter(sine_cosine(self.grid, embed_dims), requires_grad=False)
        self.blocks = nn.ModuleList(
            Block(
                embed_dims,
                num_heads,
                feedforward_channels or 4 * embed_dims,
                drop_path=0.0,
                layer_scale_init_value=0.0,
                grid=None,
                key_bias=True,
            )
            for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(embed_dims, eps=NORM_EPS)
        init_by_xavier_(self)
        nn.init.normal_(self.mask_token, std=INIT_STD)

    @staticmethod
    def check_config(component: Component, plan: Plan) -> Iterator[str]:
        """What cannot work in a config, see :class:`beit_mm.component.Component`."""
        names = 'embed_dims', 'num_layers', 'num_heads', 'feedforward_channels'
        sizes = {name: component[name] for name in names if component[name] is not None}
        if small := [name for name, size in sizes.items() if size < 1]:
            for name in small:
                yield f'{component.key}.{name} is {sizes[name]}; it must be above 0'
            return
        width, heads = component['embed_dims'], component['num_heads']
        if width % heads or width % 4:
            yield (
                f'{component.key}.embed_dims is {width}; it must be a multiple of num_heads, '
                f'{heads}, and of 4'
            )

    @staticmethod
    def width_of(component: Component) -> int:
        """Width of its tokens that a config describes."""
        return component['embed_dims']

    def init_weights(self) -> None:
        """Nothing to do: the constructor initialises."""

    def forward(self, encoded: Tensor, places: Places | None, grid: tuple[int, int]) -> Tensor:
        """Hidden states of all patches.

        Args:
            encoded: (B, 1 + K, C) the encoder's output, [S] first.
            places: Which patches these are, and which are to be filled in; None if it is all.
            grid: Patch grid (h, w) of the images.

        Returns:
            (B, h w, D), in the order of the patches.
        """
        x = self.embed(encoded)  # (B, 1 + K, D)
        if places is not None:
            gaps = self.mask_token.expand(*places.hidden.shape, -1)  # (B, M, D)
            seen_first = torch.cat([x[:, 1:], gaps.to(x.dtype)], dim=1)  # (B, N, D)
            in_order = take(seen_first, torch.cat(places, dim=1).argsort(dim=1))  # (B, N, D)
            x = torch.cat([x[:, :1], in_order], dim=1)  # (B, 1 + N, D)
        x = x + self._positions(grid)
        for block in self.blocks:
            x = block(x, None, None)
        return self.norm(x)[:, 1:]  # (B, N, D)

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        if grid == self.grid:
            return self.pos_embed
        return resize_absolute_positions(self.pos_embed, self.grid, grid)


@MODELS.register_module()
class MaskedAutoencoder(MaskedImageModeling):
    """MAE's pre-training task.

    It is :class:`MaskedImageModeling` with another way from images to hidden states: the encoder is
    given the patches that are seen and no others, and a decoder fills in the rest. Targets are
    pixels of the view that the encoder is given, normalised as it is; with a second view, visual
    tokens or whatever else a target generator makes of it.

    Args:
        backbone: Config of a :class:`VisionTransformer` with ``out_type='raw'``.
        decoder: Config of a :class:`MAEDecoder`.
        target_generator: Config of a :class:`PixelTargetGenerator`, or of another.
        head: Config of a :class:`PixelHead`, or of another that fits the target generator.
        data_preprocessor: Config of a preprocessor that yields ``inputs``: a view, or two.
        predict_all: Whether the loss is on every place, not on the hidden ones alone.
        encode_all: Whether the encoder is given mask tokens in the place of hidden patches (table
            1c: slower by far, and worse); then it must have a mask token.

    Raises:
        ValueError: If the parts do not fit together.
    """

    LEAST_VIEWS = 1
    BEFORE_HEAD = 'decoder'

    def __init__(
        self,
        backbone: dict,
        decoder: dict,
        target_generator: dict,
        head: dict,
        data_preprocessor: dict | None = None,
        predict_all: bool = False,
        encode_all: bool = False,
    ) -> None:
        super().__init__(backbone, target_generator, head, data_preprocessor, predict_all)
        self.encode_all = encode_all
        self.decoder: Any = MODELS.build(decoder)
        if self.backbone.relative_index is not None and not encode_all:
            raise ValueError(
                'model.backbone has relative positions, which are for whole grids of patches; '
                'pre-train without, and add them at fine-tuning'
            )
        if self.backbone.num_extra_tokens != 1:
            raise ValueError(
                f'model.backbone is a {type(self.backbone).__name__} with num_extra_tokens '
                f'{self.backbone.num_extra_tokens}; a masked autoencoder is for a '
                'VisionTransformer with one, [S]'
            )
        everywhere = self.backbone.pos_embed is None and self.backbone.positions is not None
        if everywhere and not encode_all:
            raise ValueError(
                'model.backbone adds positions before every block, which are for whole grids of '
                "patches; a masked autoencoder adds them once: positions_at='input'"
            )
        if hasattr(self.target_generator, 'vocab_size'):
            # Classes are of images in [0, 1]; the one view is normalised.
            self.LEAST_VIEWS = 2
        # Unlike BEiT's.
        init_by_xavier_(self.head)

    @classmethod
    def check_config(cls, component: Component, plan: Plan) -> Iterator[str]:
        """Encoder, decoder and masks agree too; see :class:`beit_mm.component.Component`."""
        backbone, decoder, head = (component.part(n) for n in ('backbone', 'decoder', 'head'))
        if not decoder.given:
            yield f'{decoder.key} is missing; it must be the config of an MAEDecoder'
            return
        yield from super().check_config(component, plan)
        if component['encode_all'] and backbone.get('with_mask_token') is False:
            yield (
                f'{backbone.key}.with_mask_token is False; {component.key}.encode_all needs the '
                'mask token'
            )
        width = backbone.ask('width_of')
        given = decoder.get('encoder_dims')
        if None not in (width, given) and given != width:
            yield (
                f'{decoder.key}.encoder_dims is {given}; it must be the width of {backbone.key}, '
                f'{width}'
            )
        for name in ('img_size', 'patch_size'):
            given, wanted = decoder.get(name), backbone.get(name)
            if None not in (given, wanted) and to_pair(given) != to_pair(wanted):
                yield f'{decoder.key}.{name} is {given}; it must be {backbone.key}.{name}, {wanted}'
        if backbone.get('num_extra_tokens') not in (None, 1):
            yield (
                f'{backbone.key}.num_extra_tokens is {backbone.get("num_extra_tokens")}; a masked '
                'autoencoder takes one, [S]'
            )
        generator, grid = component.part('target_generator'), backbone.ask('grid_of')
        counted = None if component['encode_all'] else head.get('num_masked')
        if counted is not None and component['predict_all']:
            # What the encoder does not see is fewer places than the head predicts.
            yield (
                f'{head.key}.num_masked is {counted}; with predict_all it must be None, to count '
                'the places in every step'
            )
            counted = None
        for _, step in plan.steps():
            one_view = hasattr(step.kind, 'check_views') and step.get('second_size') is None
            if one_view and generator.ask('vocab_size_of') is not None:
                yield (
                    f'{step.key}.second_size is None; the classes of {generator.key} are of a '
                    'second view, in [0, 1], whose size it must be'
                )
            where, hidden = step.ask('hidden_of') or ('', None)
            if hidden is None or grid is None:
                continue
            if not 0 < hidden < grid[0] * grid[1]:
                yield (
                    f'{where} is {hidden}; of {grid[0] * grid[1]} patches some must be hidden and '
                    'some seen'
                )
            elif counted not in (None, hidden):
                yield (
                    f'{head.key}.num_masked is {counted}; it must be {where}, {hidden}, or None to '
                    'count the places in every step'
                )

    @classmethod
    def _check_room(
        cls, component: Component, masks: Component, head: Component, grid: tuple[int, int]
    ) -> Iterator[str]:
        """Where places are split by the head's number, room for more is too much: see above."""
        if component['encode_all']:
            yield from super()._check_room(component, masks, head, grid)

    def hidden_states(self, images: Tensor, mask: Tensor | None) -> Tensor:
        """Mask, encode, decode.

        Args:
            images: (B, bands, H, W) normalised.
            mask: (B, h, w) bool, or None to hide nothing.

        Returns:
            (B, h w, D) of the decoder.
        """
        grid = self.backbone.grid_for(images)
        if mask is None or self.encode_all:
            encoded = self.backbone(images, mask)[-1]  # (B, 1 + N, C)
            return self.decoder(encoded, None, grid)
        if mask.shape != (len(images), *grid):
            raise ValueError(
                f'the mask has shape {tuple(mask.shape)}, the images {grid[0]} x {grid[1]} patches '
                f'in a batch of {len(images)}'
            )
        places = split_places(mask, self.head.num_masked)
        tokens = self.backbone.embed(images)  # (B, 1 + N, C)
        seen = torch.cat([tokens[:, :1], take(tokens[:, 1:], places.seen)], dim=1)
        encoded = self.backbone.encode(seen)[-1]  # (B, 1 + K, C)
        return self.decoder(encoded, places, grid)
