"""Weights in one word: a backbone that is what its weights are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoints import (
    PREFIX,
    CheckpointError,
    is_whole,
    known_layout,
    locate,
    network_in,
    of_the_function,
    read_checkpoint,
    read_config,
    summarize,
    take_weights,
    translate,
)
from ..layers.patch_embed import patch_grid
from ..layers.positions import is_position
from .beit import BEiT
from .fitting import fit_model
from .reading_shapes import positions_of, settings_of, tokens_of
from .vision_transformer import VisionTransformer


def load(
    source: str | Path,
    *,
    out_type: str | None = None,
    out_indices: int | Sequence[int] = -1,
    img_size: int | Sequence[int] | None = None,
    num_heads: int | None = None,
    which: str = '',
    bands: int | Sequence[str] | None = None,
) -> VisionTransformer:
    """A backbone with its weights, in eval mode, built as they and the config beside them say.

    It is a :class:`BEiT`, or a :class:`VisionTransformer` where there is a bias on the keys, as in
    the weights of ViT, DeiT and MAE.

    Args:
        source: A file, a folder, ``hf-hub:org/name``, ``timm:name``, ``mmpretrain::name`` or a
            URL; see :func:`beit_mm.checkpoints.locate`. In any layout; of a whole model the
            backbone is taken.
        out_type: See :class:`BEiT`. Without, 'avg_featmap' if a norm behind the mean over the
            patches is among the weights, as after fine-tuning, else 'raw'.
        out_indices: See :class:`BEiT`.
        img_size: Height and width in pixels to make the positions for; without, that of the
            weights. Positions are resampled; other sizes than it are answered too.
        num_heads: Needed where nothing tells it; see :func:`settings_of`.
        which: Of several sets of weights the one to take, such as 'ema' or 'teacher'; see
            :func:`beit_mm.checkpoints.load_state_dict`.
        bands: Number or names of the bands of other images than in the training of the weights,
            which are fitted to them as :class:`beit_mm.layers.fit_bands.BandFit` says.

    Returns:
        For float images (B, C, H, W), normalised as in its training, a tuple with a tensor for
        each of ``out_indices``.

    Raises:
        FileNotFoundError: If there is no such file, folder, model or URL.
        CheckpointError: If it holds no Vision Transformer, or does not say what it is built like.
        ImportError: If a package is missing that fetches it.
    """
    path = locate(source)
    content = read_checkpoint(path)
    weights = take_weights(content, which, str(source))
    try:
        ours = backbone_of(weights)
        settings = settings_of(ours, {**network_in(path, content), **read_config(path)})
        arch = settings['arch']
        arch['num_heads'] = num_heads or arch['num_heads']
        if arch['num_heads'] is None:
            raise CheckpointError(
                f'{arch["num_layers"]} blocks of width {arch["embed_dims"]}, and neither a config '
                'beside them nor a table of relative positions says how many heads there are: give '
                'num_heads=; a command reads {"num_attention_heads": N} in a config.json beside a '
                'pytorch_model.bin or model.safetensors, and takes their folder'
            )
        of_weights = settings['img_size']
        has_positions = any('rel_pos_bias' in name or is_position(name) for name in ours)
        if of_weights is None and img_size is None and has_positions:
            raise CheckpointError('its positions are not for a square grid: give img_size=')
    except CheckpointError as error:
        raise CheckpointError(f'{source}: {error}') from None
    if of_weights is not None and has_positions:
        ours['patch_grid'] = torch.tensor(patch_grid(of_weights, settings['patch_size']))
    settings['out_type'] = out_type or settings['out_type']
    # Behind the mean it is the other norm that counts, see BEiT.
    settings['final_norm'] &= settings['out_type'] != 'avg_featmap' or 'fc_norm.weight' in ours
    if bands is not None:
        count, names = (bands, None) if isinstance(bands, int) else (len(bands), bands)
        settings.update(in_channels=count, bands=names)
    settings['img_size'] = img_size or of_weights or 224
    kind: type[VisionTransformer] = BEiT
    if 'blocks.0.attn.qkv.bias' in ours:
        kind = VisionTransformer
        del settings['use_abs_pos_emb']
        settings |= dict(positions_of(ours), num_extra_tokens=tokens_of(ours))
    model = _unfilled(kind)(**settings, out_indices=out_indices)
    fitted = fit_model(model, '', ours, str(source), known_layout(weights))
    model.load_state_dict(fitted, strict=False)
    model.__class__ = kind
    return model.eval()


def _unfilled(kind: type[VisionTransformer]) -> type[VisionTransformer]:
    """A backbone without initial values, which take seconds: all that has one is loaded.

    Biases and tables are left at zero, and norms at one.
    """
    return type(kind.__name__, (kind,), dict(reset_parameters=lambda self: None))


def backbone_of(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those of the backbone of a BEiT or ViT in any layout, under this project's names.

    Raises:
        CheckpointError: If they are of neither, or of more than its blocks have here.
    """
    ours, left_out = translate(weights, known_layout(weights), 'beit_mm')
    if lost := of_the_function(left_out):
        raise CheckpointError(f'of another model than BEiT and ViT: it has {summarize(lost)}')
    prefix = PREFIX if is_whole(ours, 'beit_mm') else ''
    if f'{prefix}axial' in ours:
        raise CheckpointError(
            'of an AxialVisionTransformer, whose blocks attend along rows and columns: load them '
            'by init_cfg of one in a config'
        )
    return {n.removeprefix(prefix): t for n, t in ours.items() if n.startswith(prefix)}
