"""What a masked patch must predict: visual tokens or pixels; colours are in mean_colors.py.

A target generator turns the second view, (B, bands, h * stride, w * stride), into one target a
place of the (h, w) grid. Those of classes have ``vocab_size``, those of values ``num_values``; the
head must have the same one, and the same ``tokens_per_place`` where several classes are predicted
of a place. ``stride`` is what a place covers of the second view, in pixels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.utils import digit_version
from torch import Tensor, nn

from ..checkpoints import load_tokenizer_state_dict
from ..checkpoints.tokenizer import HOW_TO_GET_ONE
from ..component import Component, Plan
from ..layers.compiling import in_its_fast_form
from ..registry import MODELS
from .tokenizer_bands import fit_tokenizer

# Of all but the last layer; None for that of the weights.
PRECISIONS = dict(float32=None, tf32=None, float16=torch.float16, bfloat16=torch.bfloat16)


@cache
def half_dtype(precision: str, device: str) -> torch.dtype | None:
    """The half precision that a precision asks for on a device, None for float32's."""
    dtype = PRECISIONS[precision]
    if dtype == torch.float16 and device == 'cpu' and not cpu_knows_float16():
        print_log(
            f'PyTorch {torch.__version__} has no float16 autocast for the CPU: the tokenizer runs '
            'in float32',
            logger='current',
        )
        return None
    return dtype


def cpu_knows_float16() -> bool:
    """Whether this PyTorch's autocast takes float16 on the CPU."""
    return digit_version(torch.__version__) >= digit_version('2.4')


@contextmanager
def tf32(device: str, allowed: bool) -> Iterator[None]:
    """Whether convolutions of float32 may use TF32, for a while; on CUDA, where they can."""
    if device != 'cuda':
        yield
        return
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


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

    The tokenizer runs in a precision of its own whatever the precision around it: in half
    precision the most likely token of an image changes here and there. It stays in eval mode, and
    its weights are buffers, so that no optimizer updates or decays them.

    Args:
        tokenizer: Config of the :class:`DiscreteVAE`, or the module itself; its decoder is not
            needed.
        checkpoint: Its weights: a checkpoint that this project trained, or the encoder of DALL-E
            as MMPretrain publishes it; a path or a URL. None leaves the weights as they are, for
            a tokenizer that is given as a module or comes with a checkpoint of the whole model.
        precision: 'float32' is exact; 'tf32' leaves the convolutions of an NVIDIA GPU 10 bits of
            mantissa, which other devices do not know; 'float16' has as many, 'bfloat16' 7. The
            last layer has at least TF32's.
        compile: Whether to compile the tokenizer by ``torch.compile``. None does so in training
            on a GPU that gains by it, see :func:`beit_mm.machine.choose_compiling`.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If it is of a tokenizer of another size, or there is no such precision.
    """

    def __init__(
        self,
        tokenizer: dict | nn.Module,
        checkpoint: str | None = None,
        precision: str = 'float32',
        compile: bool | None = None,
    ) -> None:
        super().__init__()
        if precision not in PRECISIONS:
            raise ValueError(
                f'model.target_generator.precision {precision!r} is none of {", ".join(PRECISIONS)}'
            )
        self.precision = precision
        self.compile_tokenizer = compile
        self.tokenizer: Any = (
            tokenizer
            if isinstance(tokenizer, nn.Module)
            else MODELS.build({'with_decoder': False, **tokenizer})
        )
        # Whoever tests a whole model need not find these weights in the model's checkpoint.
        self.checkpoint = checkpoint
        if checkpoint is not None:
            self._load(checkpoint)
        _turn_parameters_into_buffers(self.tokenizer)
        # The format of the images, see DiscreteVAE.tokenize; values and shapes stay as they are.
        self.tokenizer.to(memory_format=torch.channels_last)
        self.tokenizer.eval()

    @staticmethod
    def check_config(component: Component, plan: Plan) -> Iterator[str]:
        """What cannot work in a config, see :class:`beit_mm.component.Component`."""
        key, checkpoint = f'{component.key}.checkpoint', component['checkpoint']
        if checkpoint is None:
            if not plan.starts_from_checkpoint:
                yield (
                    f'{key} is None, so the tokens would be those of random weights; it must be a '
                    f'file or URL. {HOW_TO_GET_ONE}'
                )
        elif '://' not in checkpoint and not Path(checkpoint).is_file():
            yield (
                f'{key} is {checkpoint!r}, and there is no such file; to use the tokenizer inside '
                f'a checkpoint of a pre-training run, set it to None. {HOW_TO_GET_ONE}'
            )

    @staticmethod
    def stride_of(component: Component) -> int | None:
        """Pixels of the second view a token stands for, by a config."""
        return component.part('tokenizer').ask('stride_of')

    @staticmethod
    def bands_of(component: Component) -> tuple[str, int, Sequence[str] | None] | None:
        """Where a config says how many bands the second view has, how many, and their names."""
        return component.part('tokenizer').ask('bands_of')

    @staticmethod
    def vocab_size_of(component: Component) -> tuple[str, int | None]:
        """Where a config says how many tokens there are, and what it says."""
        tokenizer = component.part('tokenizer')
        return f'{tokenizer.key}.vocab_size', tokenizer.get('vocab_size')

    def _load(self, checkpoint: str) -> None:
        weights, said = fit_tokenizer(self.tokenizer, load_tokenizer_state_dict(checkpoint))
        if said:
            print_log(f'{checkpoint}: {said}', logger='current')
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
            images: (B, bands, H, W) in [0, 1], the tokenizer's view.

        Returns:
            (B, H / stride, W / stride) int64 in [0, vocab_size).
        """
        method = type(self.tokenizer).tokenize
        tokenize = in_its_fast_form(method, self.compile_tokenizer, images.device, self)
        device = images.device.type
        dtype = half_dtype(self.precision, device)
        with torch.autocast(device, enabled=False), tf32(device, self.precision != 'float32'):
            return tokenize(self.tokenizer, images.float(), dtype)


def places_of(images: Tensor, stride: int) -> Tensor:
    """(B, C, h * stride, w * stride) -> (B, h, w, stride, stride, C).

    Raises:
        ValueError: If the images do not divide so.
    """
    height, width = images.shape[-2:]
    if height % stride or width % stride:
        raise ValueError(
            f'a second view of {height} x {width} pixels does not divide into places of '
            f'{stride} x {stride}'
        )
    rows = images.unflatten(3, (-1, stride)).unflatten(2, (-1, stride))
    return rows.permute(0, 2, 4, 3, 5, 1)


def refuse_other_bands(images: Tensor, in_channels: int) -> None:
    """Raise ValueError if images (B, C, H, W) have not so many bands."""
    if images.shape[1] != in_channels:
        raise ValueError(
            f'a second view of {images.shape[1]} bands was given; in_channels of the target '
            f'generator is {in_channels}'
        )


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
        self.in_channels = in_channels
        self.num_values = patch_size**2 * in_channels

    @staticmethod
    def stride_of(component: Component) -> int:
        """Pixels of the second view a place covers, by a config."""
        return component['patch_size']

    @staticmethod
    def bands_of(component: Component) -> tuple[str, int, tuple]:
        """Where a config says how many bands there are, and how many; they have no names."""
        return f'{component.key}.in_channels', component['in_channels'], ()

    def forward(self, images: Tensor) -> Tensor:
        """Targets.

        Args:
            images: (B, C, h * patch_size, w * patch_size), the second view.

        Returns:
            (B, h, w, patch_size * patch_size * C) float32, row by row, the channels of a pixel
            together.

        Raises:
            ValueError: If the images have other bands.
        """
        refuse_other_bands(images, self.in_channels)
        values = places_of(images, self.stride).flatten(3).float()
        if not self.normalize:
            return values
        variance, mean = torch.var_mean(values, dim=-1, keepdim=True)
        return (values - mean) / (variance + self.EPS).sqrt()

    def picture(self, values: Tensor) -> Tensor:
        """Images of pixels that are not normalised: (B, h, w, n) -> (B, C, h * p, w * p)."""
        patches = values.unflatten(3, (self.stride, self.stride, -1))
        return patches.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)


@MODELS.register_module()
class CachedTargetGenerator(BaseModule):
    """Hands on visual tokens that the data set has read from a cache in place of the second view.

    Args:
        vocab_size: Number of visual tokens.
        generator: Config of what computes the tokens of images, for validation on images that are
            not in the cache; None where there is none, to save its memory.
    """

    stride = 1

    @staticmethod
    def bands_of(component: Component) -> tuple[str, int, Sequence[str] | None] | None:
        """Those of the generator, if there is one."""
        return component.part('generator').ask('bands_of')

    def __init__(self, vocab_size: int, generator: dict | None = None) -> None:
        super().__init__()
        self.vocab_size = vocab_size
        self.generator = None if generator is None else MODELS.build(generator)

    def init_weights(self) -> None:
        """Nothing to do: the generator has loaded its weights."""

    def forward(self, second: Tensor) -> Tensor:
        """Visual tokens.

        Args:
            second: (B, h, w) int64 tokens; or (B, bands, H, W) images as the generator takes them.

        Returns:
            (B, h, w) int64 in [0, vocab_size).

        Raises:
            ValueError: If it is images and there is no generator.
        """
        if second.dtype == torch.int64:
            return second
        if self.generator is None:
            raise ValueError(
                'the second view is images, not tokens of a cache: set token_cache of LoadTwoViews '
                'in the pipeline, or model.target_generator.generator'
            )
        return self.generator(second)
