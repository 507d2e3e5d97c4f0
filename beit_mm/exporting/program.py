"""What is exported: a function of plain images, with all that they go through inside."""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.model import revert_sync_batchnorm
from torch import Tensor, nn

from ..component import ConfigError
from ..models import MaskedImageModeling, VisionTransformer

# In which order of channels images leave the step of a pipeline that reads them.
LOADED_AS = {
    'LoadImageFromFile': 'BGR',
    'LoadPhoto': 'RGB',
    'LoadTwoViews': 'RGB',
}


class Normalization(NamedTuple):
    """From images in [0, 1], RGB if they have three bands, to what a network takes.

    Attributes:
        mean, std: Of its channels, for values in [0, 1], in the network's order.
        flip: Whether the network takes blue first, if it takes three bands.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool


class Program(nn.Module):
    """A model as others use it: images in, logits or features out.

    A classifier gives ``logits`` (B, classes), of which softmax makes its probabilities, or sigmoid
    where an image may have several labels. A segmentor gives ``logits`` (B, classes, H, W), a
    number for each pixel, of the image as a whole and not by windows. A pre-training model and a
    backbone give ``features`` of the image without a mask, one for each of ``out_indices``, in the
    shape of :class:`beit_mm.models.VisionTransformer`'s ``out_type``.

    Args:
        model: A classifier of MMPretrain, a segmentor of MMSegmentation, a
            :class:`beit_mm.models.MaskedImageModeling` or a
            :class:`beit_mm.models.VisionTransformer`, such as a BEiT. Copied.
        normalization: None for a backbone that takes images as they are.

    Attributes:
        kind: 'classifier', 'segmentor' or 'backbone'.
        output_names: One for each output.
        patch_size: Height and width of a patch; images are a multiple of it.
        grid: Patch grid of the positions.
        in_channels: Bands of the images.
        bands: Their names, in the order in which they are given and the network takes them; or
            None.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, normalization: Normalization | None) -> None:
        super().__init__()
        if isinstance(model, MaskedImageModeling):
            model = model.backbone
        backbone: Any = (
            model if isinstance(model, VisionTransformer) else getattr(model, 'backbone', None)
        )
        if not isinstance(backbone, VisionTransformer):
            raise ConfigError(
                f'model is {type(model).__name__}; what can be exported is a BEiT or a '
                'VisionTransformer, and a classifier, a segmentor or a pre-training model with one '
                'as backbone'
            )
        self.kind = (
            'backbone'
            if model is backbone
            else 'segmentor'
            if hasattr(model, 'decode_head')
            else 'classifier'
        )
        self.patch_size, self.grid = backbone.patch_size, backbone.grid
        self.in_channels = backbone.patch_embed.input.in_channels
        self.bands: tuple[str, ...] | None = backbone.bands
        count = len(set(backbone.out_indices)) if self.kind == 'backbone' else 1
        name = 'features' if self.kind == 'backbone' else 'logits'
        self.output_names = [name] if count == 1 else [f'{name}_{i}' for i in range(count)]
        self.normalization = normalization
        self.model = revert_sync_batchnorm(copy.deepcopy(model)).cpu().float().eval()
        self.requires_grad_(False)
        if normalization is not None:
            for part in ('mean', 'std'):
                values = torch.tensor(getattr(normalization, part)).view(-1, 1, 1)
                self.register_buffer(part, values, persistent=False)

    def describe_images(self) -> str:
        """What goes in, in words."""
        if self.normalization is None:
            return 'float32, as the backbone takes them'
        order = 'RGB' if self.in_channels == 3 else 'channels in the order of training'
        order = ', '.join(self.bands) if self.bands is not None else order
        return f'float32, {order}, in [0, 1]'

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Run the model.

        Args:
            images: (B, C, H, W) float32 in [0, 1], what the training's pipeline gives divided by
                255; H and W multiples of the patch. The bands are ``bands``; without names, RGB
                if they are three, else those of the training's pipeline in its order. Without
                ``normalization``, as the backbone takes them.

        Returns:
            The outputs, in the order of ``output_names``.
        """
        x = images
        if self.normalization is not None:
            if self.normalization.flip and self.in_channels == 3 and self.bands is None:
                x = x.flip(1)
            x = (x - self.mean) / self.std
        if self.kind == 'backbone':
            return self.model(x)
        logits = self.model(x, mode='tensor')
        if self.kind == 'segmentor':
            logits = F.interpolate(
                logits,
                size=images.shape[2:],
                mode='bilinear',
                align_corners=self.model.align_corners,
            )
        return (logits,)


def normalization_of(preprocessor: nn.Module, pipeline: Sequence[dict] | None) -> Normalization:
    """What a data preprocessor of OpenMMLab's does to images in [0, 255], for images in [0, 1].

    Args:
        preprocessor: Any with ``mean`` and ``std``, MMPretrain's ``ClsDataPreprocessor`` and
            MMSegmentation's ``SegDataPreProcessor`` among them.
        pipeline: Of the test data: it says in which order channels reach the preprocessor.

    Raises:
        ConfigError: If that order cannot be known.
    """
    mean, std = (
        tuple(float(value) / 255 for value in torch.as_tensor(values).flatten())
        for values in (getattr(preprocessor, 'mean', 0.0), getattr(preprocessor, 'std', 1.0))
    )
    converts = any(
        getattr(preprocessor, name, False)
        for name in ('to_rgb', '_channel_conversion', 'channel_conversion')
    )
    order = order_of_pipeline(pipeline)
    if order is None and converts:
        order = 'BGR'
    if order is None:
        order = 'RGB' if hasattr(preprocessor, 'second_mean') else None
    if order is None:
        raise ConfigError(
            'whether the model takes red or blue first is said by the pipeline of its test data, '
            'which is not known: export it by its config'
        )
    return Normalization(mean, std, flip=(order == 'BGR') != converts)


def order_of_pipeline(pipeline: Sequence[dict] | None) -> str | None:
    """'RGB' or 'BGR', as images leave a pipeline; None if none of its steps is known to say so."""
    order = None
    for step in pipeline or ():
        name = str(step['type']).rpartition('.')[2]
        if name in LOADED_AS:
            # Bands that are named or counted stay in their order.
            turned = step.get('as_array') and step.get('bands') is None
            order = 'BGR' if turned else LOADED_AS[name]
        elif step.get('to_rgb') or step.get('to_bgr'):
            order = 'RGB' if step.get('to_rgb') else 'BGR'
    return order
