"""A masked autoencoder from its weights alone: encoder, decoder, and what reads the pixels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from ..checkpoints import (
    CheckpointError,
    known_layout,
    locate,
    network_in,
    read_checkpoint,
    read_config,
    take_weights,
    translate,
)
from .fitting import fit_model
from .loading import backbone_of
from .masked_autoencoder import MaskedAutoencoder
from .reading_shapes import decoder_settings_of, positions_of, settings_of


def load_autoencoder(
    source: str | Path,
    *,
    normalize: bool | None = None,
    num_heads: int | None = None,
    decoder_heads: int | None = None,
    data_preprocessor: dict | None = None,
    which: str = '',
) -> MaskedAutoencoder:
    """The pre-training model of MAE that weights with a decoder are of, in eval mode.

    Args:
        source: What :func:`beit_mm.checkpoints.locate` finds, in any layout: a run of this project,
            ``mae_visualize_vit_large.pth`` and other files of the authors, MMPretrain's, or a
            folder of transformers' ``ViTMAEForPreTraining``.
        normalize: Whether it predicts pixels that are normalised patch by patch. The weights do
            not tell: None takes what a config of transformers beside them says, or a run of this
            project, else False.
        num_heads, decoder_heads: Needed where nothing tells them: sizes with names and the paper's
            decoder of width 512 do, and a config of transformers or of a run.
        data_preprocessor: Config of the :class:`TwoViewDataPreprocessor` that the model shall
            have.
        which: Of several sets of weights the one to take; see :func:`beit_mm.load`.

    Returns:
        A model that takes normalised images and predicts the pixels of every patch.

    Raises:
        FileNotFoundError: If there is no such file, folder, model or URL.
        CheckpointError: If it holds no decoder, or does not say what it is built like.
        ImportError: If a package is missing that fetches it.
    """
    path = locate(source)
    content = read_checkpoint(path)
    weights = take_weights(content, which, str(source))
    try:
        told = {**network_in(path, content), **read_config(path)}
        ours = translate(weights, known_layout(weights), 'beit_mm').state_dict
        of_encoder = settings_of(backbone_of(weights), told)
        of_decoder = decoder_settings_of(weights, told)
        for part, given in ((of_encoder['arch'], num_heads), (of_decoder, decoder_heads)):
            part['num_heads'] = given or part['num_heads']
        _check_known(of_encoder, of_decoder)
        head = _head_of(ours, of_encoder)
    except CheckpointError as error:
        raise CheckpointError(f'{source}: {error}') from None
    if normalize is None:
        normalize = bool(told.get('norm_pix_loss', False))
        if 'norm_pix_loss' not in told:
            print_log(
                f'{source} does not say what its pixels are; taken for pixels as they are: '
                'normalize=True takes them for normalised patch by patch',
                logger='current',
            )
    images = dict(img_size=of_encoder['img_size'], patch_size=of_encoder['patch_size'])
    del of_encoder['use_abs_pos_emb']
    of_encoder |= dict(positions_of(backbone_of(weights)), type='beit_mm.VisionTransformer')
    of_encoder['out_type'] = 'raw'
    model = MaskedAutoencoder(
        backbone=of_encoder,
        decoder=dict(type='beit_mm.MAEDecoder', **of_decoder, **images),
        target_generator=dict(
            type='beit_mm.PixelTargetGenerator',
            patch_size=images['patch_size'][0],
            normalize=normalize,
            in_channels=of_encoder['in_channels'],
        ),
        head=dict(type='beit_mm.PixelHead', **head),
        data_preprocessor=data_preprocessor,
        # Whose encoder has a mask token, of its own, was given it.
        encode_all=of_encoder['with_mask_token'],
    )
    fitted = fit_model(model, 'backbone.', weights, str(source))
    model.load_state_dict(fitted, strict=False)
    lost = [name for name in model.state_dict() if name.startswith(('decoder.', 'head.'))]
    lost = [name for name in lost if name not in fitted and not name.endswith('pos_embed')]
    if lost:
        raise CheckpointError(
            f'{source}: no whole decoder: it lacks {", ".join(lost[:3])}, or has another size there'
        )
    return model.eval()


def _check_known(of_encoder: dict[str, Any], of_decoder: dict[str, Any]) -> None:
    for part, argument in ((of_encoder['arch'], 'num_heads'), (of_decoder, 'decoder_heads')):
        if part['num_heads'] is None:
            raise CheckpointError(
                f'of width {part["embed_dims"]}, and nothing says how many heads there are: give '
                f'{argument}='
            )
    width = of_encoder['arch']['embed_dims']
    if of_decoder['encoder_dims'] != width:
        raise CheckpointError(
            f'its decoder is for an encoder of width {of_decoder["encoder_dims"]}, and its encoder '
            f'has {width}'
        )
    if of_encoder['img_size'] is None:
        raise CheckpointError('its positions are not for a square grid, nor does a config tell it')
    if len(set(of_encoder['patch_size'])) > 1:
        raise CheckpointError(f'its patches are {of_encoder["patch_size"]}, and must be square')


def _head_of(ours: Mapping[str, Any], of_encoder: dict[str, Any]) -> dict[str, int]:
    """Settings of the :class:`PixelHead` among weights under this project's names."""
    weight = ours.get('head.regressor.weight')
    values = of_encoder['patch_size'][0] ** 2 * of_encoder['in_channels']
    if weight is None or weight.ndim != 2 or len(weight) != values:
        there = 'nothing' if weight is None else f'a matrix {tuple(weight.shape)}'
        raise CheckpointError(
            f'its decoder ends in {there}; the pixels of a patch are {values} values'
        )
    return dict(embed_dims=weight.shape[1], num_values=values)
