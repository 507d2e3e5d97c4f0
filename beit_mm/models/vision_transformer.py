"""The Vision Transformer that all papers share: patches, positions, blocks, what comes out."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..checkpoints import BAND_NAMES, pack_names
from ..component import Component, Plan
from ..layers.block import NORM_EPS, Block
from ..layers.fit_bands import check_names
from ..layers.initial_values import BIAS_STD, INIT_STD, init_by_xavier_
from ..layers.patch_embed import PatchEmbed, patch_grid, to_pair, whole_grid
from ..layers.positions import PositionsOnGrids, check_positions, is_position, make_positions
from ..layers.relative_position import RelativePositionBias, RelativePositions, relative_positions
from ..layers.resize_positions import same_grid
from ..registry import MODELS
from ..relative_index import relative_position_index
from .backbone_check import faults_of_backbone
from .freezing import freeze, frozen_modules
from .pretrained_backbone import PretrainedBackbone
from .sizes import resolve_arch

OUT_TYPES = ('raw', 'cls_token', 'featmap', 'avg_featmap')


@MODELS.register_module()
class VisionTransformer(PretrainedBackbone):
    """The Transformer of the ViT paper (3.1), which MAE pre-trains and :class:`BEiT` builds on.

    Inputs may have any height and width that are multiples of the patch: positions, which are made
    for ``img_size``, are resampled to them on the way.

    Args:
        arch: 'tiny', 'small', 'base', 'large', 'huge', or a dict: ``embed_dims``, ``num_layers``,
            ``num_heads``, ``feedforward_channels``.
        img_size: Height and width in pixels, a number or a pair, that the positions are made
            for; multiples of the patch.
        patch_size: Patch height and width in pixels, a number or a pair; with a ``stem`` what a
            patch of its feature map covers of the image, a multiple of its stride.
        in_channels: Channels of the input.
        out_indices: Blocks whose output is returned, counted from 0; negative ones from the end.
            Those behind the last of them are not run and need no gradient.
        out_type: 'raw' (B, 1 + h w, C) with [S] first; 'cls_token' (B, C); 'featmap'
            (B, C, h, w); 'avg_featmap' (B, C), the mean over the patches, then LayerNorm.
        num_extra_tokens: Tokens before those of the patches: [S] alone; 0 for none, where the mean
            over the patches is read (big_vision); 2 for DeiT's token of distillation behind [S],
            where 'cls_token' is (B, 2 C), one beside the other.
        positions: Absolute positions: 'sine-cosine', fixed, as in MAE; 'learned', one for each
            patch, as in ViT; 'learned-2d', one for each row beside one for each column (ViT's
            table 8); None for none.
        positions_at: Where they are added: at the 'input', or before 'every_block', which then
            learns its own, or 'every_block_shared', the same ones.
        drop_rate: Dropout in training, behind every linear layer but that of queries, keys and
            values, and behind the positions of the input (ViT, B.1).
        drop_path_rate: Stochastic depth of the last block; it rises linearly from 0.
        use_rel_pos_bias: Whether each block has its own relative position table.
        use_shared_rel_pos_bias: Whether all blocks share one table; excludes the former.
        layer_scale_init_value: Of LayerScale; 0 for none.
        final_norm: Whether the last block's output passes a LayerNorm; None where ``out_type`` is
            not 'avg_featmap', which has its own norm in its place.
        with_mask_token: Whether to hold e_M, which ``forward`` with a mask needs.
        frozen_stages: -1 trains all; 0 freezes the embeddings (patches, [S], positions, mask
            token); k > 0 also the first k blocks and a shared bias table; ``num_layers`` also the
            norms after the last block.
        with_cp: Whether to recompute each block in the backward pass to save memory.
        skip_dropped: Whether stochastic depth leaves out the work for the images that it drops,
            a fixed number of each batch, see :class:`DropPath`.
        compile_blocks: Whether to compile the blocks by ``torch.compile``; takes PyTorch 2.5. None
            does so where training gains by it, see :func:`beit_mm.machine.choose_compiling`.
        bands: Names of the channels, such as ``['red', 'green', 'blue', 'nir']``; they are kept
            among the weights. None names three channels red, green and blue, and no others.
        fit_bands: Whether weights for other bands than these are fitted as they are loaded, see
            :class:`beit_mm.layers.fit_bands.BandFit`; else they are refused.
        stem: A network whose feature map is cut into patches in place of the image, such as
            ``dict(type='beit_mm.HybridStem', stages=(3, 4, 9))``; None for none.
        init_cfg: ``dict(type='Pretrained', checkpoint=...)`` loads weights, in any public layout
            and of any resolution; other initialisers of mmengine apply over the papers' own.

    Raises:
        ValueError: If an argument is none of these.
    """

    init_cfg: Any
    KEY_BIAS = True
    # Kinds of blocks, which take turns.
    BLOCKS: tuple[type[Block], ...] = (Block,)

    def __init__(
        self,
        arch: str | dict = 'base',
        img_size: int | Sequence[int] = 224,
        patch_size: int | Sequence[int] = 16,
        in_channels: int = 3,
        out_indices: int | Sequence[int] = -1,
        out_type: str = 'avg_featmap',
        num_extra_tokens: int = 1,
        positions: str | None = 'sine-cosine',
        positions_at: str = 'input',
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        use_rel_pos_bias: bool = False,
        use_shared_rel_pos_bias: bool = False,
        layer_scale_init_value: float = 0.0,
        final_norm: bool | None = None,
        with_mask_token: bool = False,
        frozen_stages: int = -1,
        with_cp: bool = False,
        skip_dropped: bool = False,
        compile_blocks: bool | None = None,
        bands: Sequence[str] | None = None,
        fit_bands: bool = True,
        stem: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        size = resolve_arch(arch)
        self.embed_dims = size['embed_dims']
        self.num_layers = size['num_layers']
        self.patch_size = to_pair(patch_size)
        self.grid = whole_grid(to_pair(img_size), self.patch_size)
        if out_type not in OUT_TYPES:
            raise ValueError(f'out_type {out_type!r} is none of {", ".join(OUT_TYPES)}')
        self.out_type = out_type
        self.out_indices = self._resolve_out_indices(out_indices)
        tables = (use_rel_pos_bias, use_shared_rel_pos_bias)
        check_positions(positions, positions_at, tables, num_extra_tokens)
        if num_extra_tokens == 0 and out_type == 'cls_token':
            raise ValueError("num_extra_tokens is 0, and out_type 'cls_token' is about them")
        if not 0 <= drop_rate < 1:
            raise ValueError(f'drop_rate is {drop_rate}; it must be in [0, 1)')
        if not -1 <= frozen_stages <= self.num_layers:
            raise ValueError(f'frozen_stages {frozen_stages} is not in -1..{self.num_layers}')
        self.bands, self.fit_bands = check_names(bands, in_channels), fit_bands
        self.frozen_stages = frozen_stages
        self.with_cp = with_cp

        self.positions, self.positions_at, self.drop_rate = positions, positions_at, drop_rate

        def learned(tokens: int = 1) -> nn.Parameter:
            return nn.Parameter(torch.zeros(1, tokens, self.embed_dims))

        def positions_if(place: str):
            if positions_at != place:
                return None
            return make_positions(positions, self.grid, self.embed_dims, num_extra_tokens)

        before = stem and MODELS.build(dict(stem, in_channels=in_channels))
        self.patch_embed = PatchEmbed(in_channels, self.embed_dims, self.patch_size, before)
        self.num_extra_tokens = num_extra_tokens
        self.cls_token = learned(num_extra_tokens) if num_extra_tokens else None
        self.mask_token = learned() if with_mask_token else None
        self.pos_embed = positions_if('input')
        self.pos_embed_shared = positions_if('every_block_shared')
        self.rel_pos_bias = (
            RelativePositionBias(self.grid, size['num_heads']) if use_shared_rel_pos_bias else None
        )
        self.blocks: Any = nn.ModuleList(
            self.BLOCKS[index % len(self.BLOCKS)](
                self.embed_dims,
                size['num_heads'],
                size['feedforward_channels'],
                drop_path=drop_path_rate * index / max(1, self.num_layers - 1),
                layer_scale_init_value=layer_scale_init_value,
                grid=self.grid if use_rel_pos_bias else None,
                skip_dropped=skip_dropped,
                compile=compile_blocks,
                key_bias=self.KEY_BIAS,
                dropout=drop_rate,
                pos_embed=positions_if('every_block'),
            )
            for index in range(self.num_layers)
        )
        if final_norm is None:
            final_norm = out_type != 'avg_featmap'
        self.norm = nn.LayerNorm(self.embed_dims, eps=NORM_EPS) if final_norm else None
        self.fc_norm: Any = (
            nn.LayerNorm(self.embed_dims, eps=NORM_EPS) if out_type == 'avg_featmap' else None
        )
        # With the weights, so that whoever resamples their positions knows where from.
        self.register_buffer('patch_grid', torch.tensor(self.grid))
        if self.bands is not None:
            self.register_buffer(BAND_NAMES, pack_names(self.bands))
        index = None
        if any(tables):
            index = relative_position_index(self.grid)
        self.register_buffer('relative_index', index, persistent=False)
        self._on_grids = PositionsOnGrids(self.grid)
        self.reset_parameters()
        freeze(self)

    @classmethod
    def check_config(cls, component: Component, plan: Plan) -> Iterator[str]:
        """What cannot work in a config, see :class:`beit_mm.component.Component`."""
        return faults_of_backbone(component)

    @staticmethod
    def grid_of(component: Component) -> tuple[int, int] | None:
        """Patch grid (h, w) that a config describes, or None if the image does not divide."""
        return patch_grid(to_pair(component['img_size']), to_pair(component['patch_size']))

    @staticmethod
    def bands_of(component: Component) -> tuple[str, int, Sequence[str] | None]:
        """Where a config says how many bands there are, how many, and their names if it has any."""
        return f'{component.key}.in_channels', component['in_channels'], component['bands']

    @staticmethod
    def width_of(component: Component) -> int:
        """Width of the tokens that a config describes."""
        return resolve_arch(component['arch'])['embed_dims']

    def _resolve_out_indices(self, out_indices: int | Sequence[int]) -> tuple[int, ...]:
        indices = (out_indices,) if isinstance(out_indices, int) else tuple(out_indices)
        for index in indices:
            if not -self.num_layers <= index < self.num_layers:
                raise ValueError(
                    f'out_indices {out_indices}: there is no block {index} among {self.num_layers}'
                )
        return tuple(index % self.num_layers for index in indices)

    def grid_for(self, images: Tensor) -> tuple[int, int]:
        """Patch grid (h, w) of images (B, C, H, W).

        Raises:
            ValueError: If they do not divide into patches.
        """
        return whole_grid((images.shape[2], images.shape[3]), self.patch_size)

    def reset_parameters(self) -> None:
        """Initialise as ViT (3.1, B.1) and MAE (appendix A.1) do.

        Xavier's uniform for linear layers and for the projection of patches, seen as a matrix;
        zero for biases and relative tables; a normal of 0.02 for tokens and learned positions.
        Without MAE's positions [S] begins at zero, and biases of the feed-forward halves at a
        normal of 1e-6, as in ViT.
        """
        init_by_xavier_(self)
        for tokens in self.tokens_and_positions():
            nn.init.normal_(tokens, std=INIT_STD)
        if self.positions != 'sine-cosine':
            if self.cls_token is not None:
                nn.init.zeros_(self.cls_token)
            for block in self.blocks:
                for layer in (block.mlp.fc1, block.mlp.fc2):
                    nn.init.normal_(layer.bias, std=BIAS_STD)

    def tokens_and_positions(self) -> list[nn.Parameter]:
        """[S], the mask token and absolute positions, as far as they are learned."""
        return [
            parameter
            for name, parameter in self.named_parameters()
            if (name in ('cls_token', 'mask_token') or is_position(name))
            and parameter.requires_grad
        ]

    def train(self, mode: bool = True):
        """Set the mode; frozen stages stay in eval mode, so that drop path leaves them alone."""
        super().train(mode)
        self._on_grids.clear()
        for module in frozen_modules(self):
            module.eval()
        return self

    def embed(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """H_0 = [e_S, E x_1, ..., E x_N] + E_pos, with e_M at masked places (paper 2.2, 2.3).

        Args:
            x: (B, in_channels, H, W).
            mask: (B, h, w) bool, True where a patch is hidden, or None.

        Returns:
            (B, 1 + h w, C).
        """
        grid = self.grid_for(x)
        tokens = self.patch_embed(x)
        if mask is not None:
            e_m = self._check_mask(mask, x.shape[0], grid)
            tokens = torch.where(mask.flatten(1)[..., None], e_m, tokens)
        if self.cls_token is not None:
            tokens = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), tokens], dim=1)
        if self.pos_embed is not None:
            tokens = tokens + self._on_grids.get(self.pos_embed, grid)
        return F.dropout(tokens, self.drop_rate) if self.drop_rate and self.training else tokens

    def _positions_of_blocks(self, grid: tuple[int, int]) -> list[Tensor] | None:
        """What is added before each block, if anything is."""
        if self.pos_embed_shared is not None:
            return [self._on_grids.get(self.pos_embed_shared, grid)] * self.num_layers
        if self.blocks[0].pos_embed is None:
            return None
        return [
            self._on_grids.get(block.pos_embed, grid, place)
            for place, block in enumerate(self.blocks)
        ]

    def _relative_positions(self, grid: tuple[int, int]) -> RelativePositions | None:
        if self.relative_index is None:
            return None
        if same_grid(self.grid, grid):
            return RelativePositions(grid, self.relative_index)
        return relative_positions(self.grid, grid, self.relative_index.device)

    def _check_mask(self, mask: Tensor, batch: int, grid: tuple[int, int]) -> Tensor:
        """The mask token, if the mask fits the images."""
        if self.mask_token is None:
            raise ValueError('a mask was given, but the backbone has with_mask_token=False')
        if mask.shape != (batch, *grid):
            raise ValueError(
                f'the mask has shape {tuple(mask.shape)}, the image {grid[0]} x {grid[1]} patches '
                f'in a batch of {batch}: grid_size of the mask generator must be '
                'img_size / patch_size'
            )
        if mask.dtype != torch.bool:
            raise ValueError(f'the mask has dtype {mask.dtype}, it must be torch.bool')
        return self.mask_token

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        """Run the Transformer.

        Args:
            x: (B, in_channels, H, W) float, normalised images.
            mask: (B, h, w) bool, True where a patch is replaced by the mask token, or None.

        Returns:
            One tensor for each of ``out_indices``, in the order of depth, shaped by ``out_type``.

        Raises:
            ValueError: If the image does not divide into patches, or the mask does not fit it.
        """
        grid = self.grid_for(x)
        added = self._positions_of_blocks(grid)
        hidden = self.encode(self.embed(x, mask), self._relative_positions(grid), added)
        return tuple(self._format(tokens, grid) for tokens in hidden)

    def encode(
        self,
        x: Tensor,
        positions: RelativePositions | None = None,
        added: Sequence[Tensor] | None = None,
    ) -> list[Tensor]:
        """Run the blocks.

        Args:
            x: (B, N, C) tokens with their absolute positions.
            positions: How the relative tables serve the grid of the tokens; not looked at without
                tables.
            added: (1, N, C) absolute positions that each block's input has added to it, if any.

        Returns:
            (B, N, C) behind each of ``out_indices``.
        """
        shared_bias = None if self.rel_pos_bias is None else self.rel_pos_bias(positions)
        outputs = []
        for index, block in enumerate(self.blocks[: max(self.out_indices) + 1]):
            if added is not None:
                x = x + added[index]
            if self.with_cp and self.training:
                x = checkpoint(block, x, positions, shared_bias, use_reentrant=False)
            else:
                x = block(x, positions, shared_bias)
            if index == self.num_layers - 1 and self.norm is not None:
                x = self.norm(x)
            if index in self.out_indices:
                outputs.append(x)
        return outputs

    def _format(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        if self.out_type == 'raw':
            return x
        if self.out_type == 'cls_token':
            return x[:, : self.num_extra_tokens].flatten(1)
        patches = x[:, self.num_extra_tokens :]
        if self.out_type == 'featmap':
            return patches.transpose(1, 2).unflatten(2, grid).contiguous()
        return self.fc_norm(patches.mean(dim=1))

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter for layer-wise learning-rate decay, as MMPretrain asks for it.

        Args:
            param_name: Name of the parameter in the whole model.
            prefix: The backbone's own prefix in that name, such as 'backbone.'.

        Returns:
            The depth, 0 for the embeddings, 1 + l for block l, and the number of depths,
            ``num_layers + 2``; everything outside the blocks that is no embedding is deepest.
        """
        depths = self.num_layers + 2
        name = param_name.removeprefix(prefix)
        if param_name.startswith(prefix):
            if name.startswith(('patch_embed', 'cls_token', 'mask_token', 'pos_embed')):
                return 0, depths
            if name.startswith('blocks.'):
                return int(name.split('.')[1]) + 1, depths
        return depths - 1, depths
