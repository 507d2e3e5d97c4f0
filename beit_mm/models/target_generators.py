"""What a masked patch must predict: visual tokens, pixels or mean colours.

A target generator turns the second view, (B, 3, h * stride, w * stride), into one target a place
of the (h, w) grid. Those of classes have ``vocab_size``, those of values ``num_values``; the head
must have the same one. ``stride`` is what a place covers of the second view, in pixels.
"""

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..checkpoints import load_tokenizer_state_dict
from ..registry import MODELS


def _turn_parameters_into_buffers(module: nn.Module) -> None:
    """Put every parameter out of reach of optimizers and of DDP's gradient traffic.

    ``requires_grad=False`` is not enough: optimizer constructors list such parameters all the
    same. Buffers move between devices and are saved as parameters are.
    """
    for child in module.modules():
        for name, parameter in list(child._parameters.items()):
            if parameter is not None:
                del child._parameters[name]
                child.register_buffer(name, parameter.detach())


@MODELS.register_module()
class DVAETargetGenerator(BaseModule):
    """Visual tokens of a frozen :class:`DiscreteVAE` (paper 2.1.2).

    The tokenizer runs in float32 whatever the precision around it: in half precision the most
    likely token of an image changes here and there. It stays in eval mode, and its weights are
    buffers, so that no optimizer updates or decays them.

    Args:
        tokenizer: Config of the :class:`DiscreteVAE`, or the module itself; its decoder is not
            needed.
        checkpoint: Its weights: a checkpoint that this project trained, or the encoder of DALL-E
            as MMPretrain publishes it; a path or a URL. None leaves the weights as they are, for
            a tokenizer that is given as a module or comes with a checkpoint of the whole model.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If it is of a tokenizer of another size.
    """

    def __init__(self, tokenizer: dict | nn.Module, checkpoint: str | None = None) -> None:
        super().__init__()
        if isinstance(tokenizer, nn.Module):
            self.tokenizer = tokenizer
        else:
            self.tokenizer = MODELS.build({'with_decoder': False, **tokenizer})
        # Whoever tests a whole model need not find these weights in the model's checkpoint.
        self.checkpoint = checkpoint
        if checkpoint is not None:
            self._load(checkpoint)
        _turn_parameters_into_buffers(self.tokenizer)
        self.tokenizer.eval()

    def _load(self, checkpoint: str) -> None:
        weights = load_tokenizer_state_dict(checkpoint)
        weights = {name: w for name, w in weights.items() if name.startswith('encoder.')}
        try:
            self.tokenizer.encoder.load_state_dict(
                {name.removeprefix('encoder.'): weight for name, weight in weights.items()}
            )
        except RuntimeError as error:
            raise ValueError(
                f'{checkpoint} is a tokenizer of another size than '
                f'model.target_generator.tokenizer describes: {error}'
            ) from None

    @property
    def vocab_size(self) -> int:
        """Number of visual tokens."""
        return self.tokenizer.vocab_size

    @property
    def stride(self) -> int:
        """Pixels of the tokenizer's view a token stands for, along each axis."""
        return self.tokenizer.stride

    def train(self, mode: bool = True):
        """Set the mode of this module alone; the tokenizer stays in eval mode."""
        super().train(mode)
        self.tokenizer.eval()
        return self

    def init_weights(self) -> None:
        """Nothing to do: the constructor has loaded the weights."""

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Visual tokens.

        Args:
            images: (B, 3, H, W) in [0, 1], the tokenizer's view.

        Returns:
            (B, H / stride, W / stride) int64 in [0, vocab_size).
        """
        with torch.autocast(images.device.type, enabled=False):
            return self.tokenizer.tokenize(images.float())


def _patches(images: Tensor, stride: int) -> Tensor:
    """(B, C, h * stride, w * stride) -> (B, h, w, stride, stride, C)."""
    height, width = images.shape[-2:]
    if height % stride or width % stride:
        raise ValueError(
            f'a second view of {height} x {width} pixels does not divide into places of '
            f'{stride} x {stride}'
        )
    rows = images.unflatten(3, (-1, stride)).unflatten(2, (-1, stride))
    return rows.permute(0, 2, 4, 3, 5, 1)


@MODELS.register_module()
class PixelTargetGenerator(BaseModule):
    """The pixels of each patch, for a :class:`PixelHead`.

    The paper's ablation recovers raw pixels in place of visual tokens (3.3). MAE found that pixels
    normalised patch by patch make the better targets (arXiv 2111.06377, 4.1).

    Args:
        patch_size: Height and width of a patch of the second view.
        normalize: Whether each patch is brought to mean 0 and variance 1 over all its values.
        in_channels: Channels of the second view.
    """

    # What MAE's released code adds to the variance, for patches of one colour.
    EPS = 1e-6

    def __init__(self, patch_size: int = 16, normalize: bool = False, in_channels: int = 3) -> None:
        super().__init__()
        self.stride = patch_size
        self.normalize = normalize
        self.num_values = patch_size**2 * in_channels

    def forward(self, images: Tensor) -> Tensor:
        """Targets.

        Args:
            images: (B, C, h * patch_size, w * patch_size), the second view.

        Returns:
            (B, h, w, patch_size * patch_size * C) float32, row by row, the channels of a pixel
            together.
        """
        values = _patches(images, self.stride).flatten(3).float()
        if not self.normalize:
            return values
        variance, mean = torch.var_mean(values, dim=-1, keepdim=True)
        return (values - mean) / (variance + self.EPS).sqrt()


@MODELS.register_module()
class MeanColorTargetGenerator(BaseModule):
    """The class of each patch's mean colour: ViT's masked patch prediction.

    A mean in [0, 1] has 3 bits a channel, which makes 512 classes (arXiv 2010.11929, B.1.2).

    Args:
        patch_size: Height and width of a patch of the second view.
    """

    LEVELS = 8
    vocab_size = LEVELS**3

    def __init__(self, patch_size: int = 16) -> None:
        super().__init__()
        self.stride = patch_size

    def forward(self, images: Tensor) -> Tensor:
        """Targets.

        Args:
            images: (B, 3, h * patch_size, w * patch_size) in [0, 1], the second view.

        Returns:
            (B, h, w) int64 in [0, 512): 64 * red + 8 * green + blue, each of 0 to 7.
        """
        means = _patches(images, self.stride).float().mean(dim=(3, 4))
        red, green, blue = (means * self.LEVELS).long().clamp(0, self.LEVELS - 1).unbind(-1)
        return (red * self.LEVELS + green) * self.LEVELS + blue
