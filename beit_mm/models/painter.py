"""What turns the targets of a pre-training, and what was predicted of them, into images."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .discrete_vae import DiscreteVAE, unmap_pixels
from .mean_colors import MeanColorTargetGenerator
from .patch_components import PCATargetGenerator
from .target_generators import PixelTargetGenerator

LEAK = (
    'Targets are normalised by patch: each hidden patch is put back with the mean and the spread '
    'of its own pixels,\nwhich the network was not told. They give away a part of the answer.'
)


class Painter(NamedTuple):
    """Paints what the places of a grid hold.

    Attributes:
        paint: (targets, second view) -> (B, C, H, W) in [0, 1] or about. Targets are (B, h, w)
            int64 classes; float shares of the classes (B, h, w, V), which add up to 1; or values
            (B, h, w, n). The second view is the (B, C, H, W) that the targets are of.
        kept: Label of an image that is painted from its own targets; None where that is the image
            itself.
        filled: Label of one whose hidden places are painted from what was predicted.
        note: What the one who looks must know.
    """

    paint: Callable[[Tensor, Tensor], Tensor]
    kept: str | None
    filled: str
    note: str = ''


def painter_of(
    generator: Any,
    tokenizer: DiscreteVAE | None = None,
    in_colors: Callable[[Tensor], Tensor] | None = None,
) -> Painter | None:
    """What paints the targets of a pre-training.

    Args:
        generator: A target generator.
        tokenizer: With its decoder, for visual tokens.
        in_colors: Brings pixels of the view that the targets are of to [0, 1]; None where they are.
            MAE's are of the one view, which is normalised.

    Returns:
        None where nothing does.
    """
    if isinstance(generator, PixelTargetGenerator):
        colors = in_colors or (lambda pixels: pixels)
        if not generator.normalize:
            return Painter(
                lambda values, second: colors(generator.picture(values)), None, 'predicted'
            )
        return Painter(
            lambda values, second: colors(put_back(generator, values, second)),
            None,
            'predicted',
            LEAK,
        )
    if isinstance(generator, PCATargetGenerator):
        return Painter(
            lambda values, second: generator.picture(values),
            'principal\ncomponents',
            'predicted',
        )
    if isinstance(generator, MeanColorTargetGenerator):
        return Painter(
            lambda classes, second: mean_colors(generator, classes),
            'mean colors',
            'from predicted\nmean colors',
        )
    if tokenizer is None:
        return None
    return Painter(
        lambda tokens, second: decode(tokenizer, tokens),
        "tokenizer's\nreconstruction",
        'from predicted\ntokens',
    )


@torch.no_grad()
def decode(tokenizer: DiscreteVAE, tokens: Tensor) -> Tensor:
    """Images of visual tokens, or of the mean over the codebook.

    A codebook of vectors gives the mean of its vectors by their shares, the paper's tokenizer the
    shares themselves, as its training did (the relaxed codes of arXiv 2102.12092, 2.1).

    Args:
        tokenizer: With its decoder.
        tokens: (B, h, w) int64; or (B, h, w, V) float shares, which add up to 1.

    Returns:
        (B, C, h * stride, w * stride) in [0, 1].
    """
    if not tokens.is_floating_point():
        return tokenizer.decode(tokens)
    layers: Any = tokenizer.encoder
    if tokenizer.quantizer == 'vector':
        codes = tokens @ layers.output.codebook.codes.to(tokens)
        return tokenizer.decoder(codes.permute(0, 3, 1, 2)).clamp(0, 1)
    shares = tokens.to(layers.input.weight.dtype).permute(0, 3, 1, 2)
    mean = tokenizer.decoder(shares)[:, : tokenizer.in_channels]
    return unmap_pixels(mean.sigmoid())


def mean_colors(generator: MeanColorTargetGenerator, classes: Tensor) -> Tensor:
    """Images of classes of colors, a pixel a cell, or of the mean over them.

    Args:
        generator: It.
        classes: (B, h, w) int64, or (B, h, w, n) of n cells; or float shares, (B, h, w, V) or
            (B, h, w, n, V), which add up to 1.

    Returns:
        (B, C, h * cells, w * cells) in [0, 1].
    """
    if not classes.is_floating_point():
        return generator.picture(classes)
    every = torch.arange(generator.vocab_size, device=classes.device)
    colors = generator.colors(every)
    return generator.in_rows((classes @ colors.T.to(classes)).movedim(-1, 1))


def put_back(generator: PixelTargetGenerator, values: Tensor, images: Tensor) -> Tensor:
    """Images of pixels that were normalised by patch, with each patch's own mean and spread.

    Args:
        generator: With ``normalize``.
        values: (B, h, w, n).
        images: (B, C, h * p, w * p), the second view, whose patches' means and spreads are taken.

    Returns:
        (B, C, h * p, w * p).
    """
    plain = PixelTargetGenerator(generator.stride, False, generator.in_channels)(images)
    variance, mean = torch.var_mean(plain, dim=-1, keepdim=True)
    return generator.picture(values * (variance + generator.EPS).sqrt() + mean)
