"""What the tokenizer keeps of an image, and what the Transformer fills in."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch import Tensor

from .picture_rows import draw_picture_rows
from .predicted_tokens import TOKENS
from .shown_bands import Shown

PASTED = 'pasted into\nthe original'


def hide_patches(images: Tensor, mask: Tensor, grey: float = 0.5) -> Tensor:
    """Images with their masked patches painted grey.

    Args:
        images: (B, C, H, W) in [0, 1].
        mask: (B, h, w) bool, True where hidden; H and W are multiples of h and w.
        grey: What hidden pixels become.

    Returns:
        (B, C, H, W) in [0, 1].
    """
    return torch.where(_of_pixels(mask, images), torch.full_like(images, grey), images)


def paste(images: Tensor, mask: Tensor, painted: Tensor) -> Tensor:
    """Images with their masked patches from another picture of them.

    Args:
        images: (B, C, H, W) in [0, 1].
        mask: (B, h, w) bool, True where hidden; H and W are multiples of h and w.
        painted: (B, C, H', W'); it is brought to the size of the images.

    Returns:
        (B, C, H, W) in [0, 1]; visible pixels are those of the images.
    """
    if painted.shape[2:] == mask.shape[1:]:
        # A pixel a patch.
        painted = F.interpolate(painted, size=images.shape[2:], mode='nearest')
    elif painted.shape != images.shape:
        painted = F.interpolate(
            painted, size=images.shape[2:], mode='bicubic', align_corners=False, antialias=True
        )
    return torch.where(_of_pixels(mask, images), painted.clamp(0, 1), images)


def _of_pixels(mask: Tensor, images: Tensor) -> Tensor:
    """(B, h, w) of patches -> (B, 1, H, W) of the pixels of images."""
    (height, width), (rows, columns) = images.shape[2:], mask.shape[1:]
    of_rows = mask.repeat_interleave(height // rows, 1)
    return of_rows.repeat_interleave(width // columns, 2)[:, None]


@torch.no_grad()
def reconstruct(task: Any, painter: Any, batch: dict, mean: bool = False) -> dict[str, Tensor]:
    """A batch as the tokenizer and a pre-trained BEiT see it: the rows of a panel.

    Args:
        task: A pre-training task in eval mode, such as ``MaskedImageModeling``.
        painter: See :func:`filled_in`.
        batch: As the task's data loader yields it: a view or two, (B, C, H, W) in [0, 255], and
            masks.
        mean: Of visual tokens, paint the mean over the codebook, which shows doubt as blur, in
            place of the most likely ones.

    Returns:
        Label -> (B, C, H, W) in [0, 1].
    """
    data = task.data_preprocessor(batch)
    mask = torch.stack([sample.mask for sample in data['data_samples']])
    views = data['inputs']
    targets = task.target_generator(views[-1])
    predicted: Tensor | dict[str, Tensor]
    if mean and not targets.is_floating_point():
        predicted = {TOKENS.mean: task.outputs(views[0], mask).float().softmax(dim=-1)}
    else:
        predicted = task(views, data['data_samples'], mode='predict')
    images = batch['inputs'][0].float() / 255
    return filled_in(images, views[-1], mask, targets, predicted, painter)


def filled_in(
    images: Tensor,
    second: Tensor,
    mask: Tensor,
    targets: Tensor,
    predicted: Tensor | Mapping[str, Tensor],
    painter: Any,
    shown: Tensor | None = None,
) -> dict[str, Tensor]:
    """What a task was given and what it filled in: the rows of a panel.

    Args:
        images: (B, C, H, W) in [0, 1].
        second: (B, C, H', W'), the view that the targets are of.
        mask: (B, h, w) bool, True where hidden.
        targets: (B, h, w) classes or (B, h, w, n) values, what was to be predicted.
        predicted: Alike, or of classes (B, h, w, V) float shares; counts where hidden. Several
            predictions have their labels, and the last of them is pasted.
        painter: A :class:`beit_mm.models.painter.Painter`, or None where nothing makes images of
            targets.
        shown: (B, C, H, W) in [0, 1], what the task was given; None for the images with hidden
            patches in grey.

    Returns:
        Label -> (B, C, H, W) in [0, 1]: the images, and what was visible of them; how the painter
        paints their own targets; those with the predicted ones at the hidden places; and the
        hidden places of that in the images.
    """
    shown = hide_patches(images, mask) if shown is None else shown
    rows = {'original': images, 'masked input': shown}
    if painter is None:
        return rows
    if not isinstance(predicted, Mapping):
        predicted = {painter.filled: predicted}
    painted = {
        label: painter.paint(_where_hidden(mask, each, targets), second)
        for label, each in predicted.items()
    }
    if painter.kept is None:
        # Pixels are painted as they are: what is filled in is pasted already.
        return rows | {label: paste(images, mask, each) for label, each in painted.items()}
    rows[painter.kept] = painter.paint(targets, second)
    return rows | painted | {PASTED: paste(images, mask, [*painted.values()][-1])}


def _where_hidden(mask: Tensor, predicted: Tensor, targets: Tensor) -> Tensor:
    """The targets, with what was predicted at hidden places."""
    if predicted.is_floating_point() and not targets.is_floating_point():
        targets = F.one_hot(targets, predicted.shape[-1]).to(predicted)
    return torch.where(mask.reshape(*mask.shape, *[1] * (targets.ndim - 3)), predicted, targets)


def draw_reconstructions(
    rows: Mapping[str, Tensor],
    path: str | Path,
    shown: Shown = None,
    bands: Sequence[str] | None = None,
    note: str = '',
) -> None:
    """Write a labelled panel, a row for each kind of picture and a column for each image.

    Args:
        rows: Label -> (B, C, H, W), clipped to [0, 1]; rows may differ in size.
        path: Where the PNG goes.
        shown, bands: Which bands are red, green and blue, and the names of all; see
            :func:`beit_mm.visualization.shown_places`.
        note: Below the panel.
    """
    draw_picture_rows(rows, shown, bands, note=note).savefig(path)


def panel_of(
    rows: Mapping[str, Tensor],
    shown: Shown = None,
    bands: Sequence[str] | None = None,
    note: str = '',
) -> np.ndarray:
    """The panel of :func:`draw_reconstructions` as pixels.

    Args:
        rows, shown, bands, note: As there.

    Returns:
        (H', W', 3) uint8, RGB.
    """
    canvas = FigureCanvasAgg(draw_picture_rows(rows, shown, bands, note=note))
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]
