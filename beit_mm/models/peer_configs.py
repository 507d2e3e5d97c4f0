"""What other libraries' folders say of the weights in them: their ``config.json``."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..checkpoints import CheckpointError
from ..checkpoints.layout_tables import ROOT_ALONE, ROOT_OF_STAGES
from ..layers.block import NORM_EPS
from .hybrid_stem import stride_for

# timm's hybrids by the stages of their stem.
TIMM_HYBRIDS = {
    (): 'vit_tiny_r_s16_p8_224',
    (2, 2, 2, 2): 'vit_small_r26_s32_224',
    (3, 4, 9): 'vit_base_r50_s16_224',
    (3, 4, 6, 3): 'vit_large_r50_s32_224',
}


def huggingface_config(
    settings: dict[str, Any],
    names: Mapping[str, Tensor],
    of_decoder: dict[str, Any] | None = None,
    is_beit: bool = True,
) -> dict[str, Any]:
    """The ``config.json`` of transformers' BEiT, ViT, or, with a decoder, ViTMAE.

    Args:
        settings: Those of :class:`BEiT` or :class:`VisionTransformer`, as
            :func:`beit_mm.models.reading_shapes.settings_of` gives them, for square images and
            patches.
        names: The weights, under the names of files on the hub.
        of_decoder: Settings of a :class:`MAEDecoder`, if the weights have one.
        is_beit: Whether it is a BEiT.

    Raises:
        CheckpointError: If a ViT lacks positions or the last norm, which transformers' has.
    """
    arch = settings['arch']
    config: dict[str, Any] = dict(
        hidden_size=arch['embed_dims'],
        num_hidden_layers=arch['num_layers'],
        num_attention_heads=arch['num_heads'],
        intermediate_size=arch['feedforward_channels'],
        hidden_act='gelu',
        layer_norm_eps=NORM_EPS,
        image_size=settings['img_size'][0],
        patch_size=settings['patch_size'][0],
        num_channels=settings['in_channels'],
    )
    if is_beit:
        config |= _of_beit(settings, names)
    else:
        config |= _of_vit(settings, of_decoder)
    if 'classifier.weight' in names:
        labels = [f'LABEL_{index}' for index in range(len(names['classifier.weight']))]
        config |= dict(
            architectures=[f'{"Beit" if is_beit else "ViT"}ForImageClassification'],
            id2label=dict(enumerate(labels)),
            label2id={label: index for index, label in enumerate(labels)},
        )
    return config


def _of_beit(settings: dict[str, Any], names: Mapping[str, Tensor]) -> dict[str, Any]:
    config = dict(
        architectures=['BeitModel'],
        model_type='beit',
        use_mask_token=settings['with_mask_token'],
        use_absolute_position_embeddings=settings['use_abs_pos_emb'],
        use_relative_position_bias=settings['use_rel_pos_bias'],
        use_shared_relative_position_bias=settings['use_shared_rel_pos_bias'],
        layer_scale_init_value=settings['layer_scale_init_value'],
        # Without, the model ends in a norm of its own.
        use_mean_pooling=settings['out_type'] == 'avg_featmap' or not settings['final_norm'],
    )
    if 'lm_head.weight' in names:
        # Whose norm is its head's.
        config |= dict(
            architectures=['BeitForMaskedImageModeling'],
            use_mean_pooling=True,
            vocab_size=len(names['lm_head.weight']),
        )
    return config


def _of_vit(settings: dict[str, Any], of_decoder: dict[str, Any] | None) -> dict[str, Any]:
    _check_vit(settings, 'transformers')
    if of_decoder is None:
        return dict(architectures=['ViTModel'], model_type='vit', qkv_bias=True)
    return dict(
        architectures=['ViTMAEForPreTraining'],
        model_type='vit_mae',
        qkv_bias=True,
        decoder_hidden_size=of_decoder['embed_dims'],
        decoder_num_hidden_layers=of_decoder['num_layers'],
        decoder_num_attention_heads=of_decoder['num_heads'],
        decoder_intermediate_size=of_decoder['feedforward_channels'],
    )


def _check_vit(settings: dict[str, Any], library: str) -> None:
    """Both libraries' Vision Transformers have positions and a norm at the end."""
    if not settings['use_abs_pos_emb']:
        raise CheckpointError(
            f"it has no absolute positions, as {library}'s Vision Transformer must have; "
            'write a file'
        )
    if not settings['final_norm'] and settings['out_type'] != 'avg_featmap':
        raise CheckpointError(
            f"it has no norm at the end, as {library}'s model must have; write a file"
        )


def _timm_hybrid(stages: tuple[int, ...], is_beit: bool) -> str:
    """timm's Vision Transformer behind a stem of these stages."""
    if stages not in TIMM_HYBRIDS or is_beit:
        raise CheckpointError(
            f'it is a {"BEiT" if is_beit else "ViT"} behind a stem of stages {stages}; timm has a '
            f'ViT behind {", ".join(map(str, TIMM_HYBRIDS))}; write a file'
        )
    return TIMM_HYBRIDS[stages]


def preprocessor_config(
    size: tuple[int, int], mean: list[float], std: list[float], is_beit: bool = True
) -> dict:
    """The ``preprocessor_config.json`` of transformers' BEiT, or of its ViT and ViTMAE."""
    return dict(
        image_processor_type='BeitImageProcessor' if is_beit else 'ViTImageProcessor',
        do_resize=True,
        size=dict(height=size[0], width=size[1]),
        # Bicubic.
        resample=3,
        do_center_crop=False,
        do_rescale=True,
        do_normalize=True,
        image_mean=mean,
        image_std=std,
    )


def timm_config(
    settings: dict[str, Any],
    names: Mapping[str, Tensor],
    images: tuple[list[float], list[float]] | None,
    is_beit: bool = True,
) -> dict[str, Any]:
    """The ``config.json`` of timm's BEiT or Vision Transformer.

    Args:
        settings: Those of :class:`BEiT` or :class:`VisionTransformer`, see
            :func:`huggingface_config`.
        names: The weights, under timm's names.
        images: Mean and standard deviation that images are normalised by, if known.
        is_beit: Whether it is a BEiT.

    Raises:
        CheckpointError: If the weights have no norm at the end, as timm's model has; if a ViT has
            no positions, or one norm more than timm's.
    """
    averages = settings['out_type'] == 'avg_featmap'
    tokens: dict[str, Any] = {}
    if not is_beit:
        _check_vit(settings, 'timm')
        if 'dist_token' in names:
            raise CheckpointError('it has a token for distillation; write a file')
        if 'cls_token' not in names:
            # Behind the norm the mean over the patches is read.
            tokens = dict(class_token=False, fc_norm=averages)
        if averages and settings['final_norm']:
            raise CheckpointError(
                'it has a norm before the mean over the patches and one behind it, of which '
                "timm's Vision Transformer has the second alone; write a file"
            )
    if not settings['final_norm'] and not averages:
        raise CheckpointError("it has no norm at the end, as timm's model must have; write a file")
    arch = settings['arch']
    width, hidden = arch['embed_dims'], arch['feedforward_channels']
    # timm rounds the product down.
    ratio = hidden / width if int(width * (hidden / width)) == hidden else (hidden + 0.5) / width
    classes = len(names['head.weight']) if 'head.weight' in names else 0
    pool = 'avg' if averages or tokens else 'token'
    size = settings['img_size']
    normalised = {} if images is None else dict(mean=images[0], std=images[1])
    of_beit = dict(
        init_values=settings['layer_scale_init_value'],
        use_abs_pos_emb=settings['use_abs_pos_emb'],
        use_rel_pos_bias=settings['use_rel_pos_bias'],
        use_shared_rel_pos_bias=settings['use_shared_rel_pos_bias'],
    )
    # One that timm knows; the arguments make it any other.
    architecture, first = f'{"beit" if is_beit else "vit"}_base_patch16_224', 'patch_embed.proj'
    patch_size = list(settings['patch_size'])
    if 'stem' in settings:
        stages = settings['stem']['stages']
        architecture = _timm_hybrid(stages, is_beit)
        first = f'{ROOT_OF_STAGES[0] if stages else ROOT_ALONE[0]}'.removesuffix('.')
        patch_size = [size // stride_for(stages) for size in patch_size]
    return dict(
        architecture=architecture,
        num_classes=classes,
        num_features=width,
        global_pool=pool,
        model_args=dict(
            img_size=list(size),
            patch_size=patch_size,
            in_chans=settings['in_channels'],
            embed_dim=width,
            depth=arch['num_layers'],
            num_heads=arch['num_heads'],
            mlp_ratio=ratio,
            num_classes=classes,
            global_pool=pool,
            **(of_beit if is_beit else tokens),
        ),
        pretrained_cfg=dict(
            input_size=[settings['in_channels'], *size],
            fixed_input_size=True,
            num_classes=classes,
            interpolation='bicubic',
            first_conv=first,
            classifier='head',
            **normalised,
        ),
    )
