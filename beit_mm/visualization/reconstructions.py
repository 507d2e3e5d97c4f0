"""What the tokenizer keeps of an image, and what the Transformer fills in."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from .shown_bands import Shown, in_three_bands

DPI = 120
# Labels of the rows of targets and of predictions.
OF_TOKENS = ("tokenizer's\nreconstruction", 'from predicted\ntokens')
OF_OTHERS = ('targets', 'predicted')


def hide_patches(images: Tensor, mask: Tensor, grey: float = 0.5) -> Tensor:
    """Images with their masked patches painted grey.

    Args:
        images: (B, C, H, W) in [0, 1].
        mask: (B, h, w) bool, True where hidden; H and W are multiples of h and w.
        grey: What hidden pixels become.

    Returns:
        (B, C, H, W) in [0, 1].
    """
    (height, width), (rows, columns) = images.shape[2:], mask.shape[1:]
    hidden = mask.repeat_interleave(height // rows, 1).repeat_interleave(width // columns, 2)
    return torch.where(hidden[:, None], torch.full_like(images, grey), images)


@torch.no_grad()
def reconstruct(task: Any, tokenizer: Any, batch: dict) -> dict[str, Tensor]:
    """A batch as the tokenizer and a pre-trained BEiT see it: the rows of a panel.

    Args:
        task: A pre-training task in eval mode, such as ``MaskedImageModeling``.
        tokenizer: A ``DiscreteVAE`` with its decoder, in eval mode.
        batch: As the task's data loader yields it: two views, (B, C, H, W) in [0, 255], and masks.

    Returns:
        Label -> (B, C, H, W) in [0, 1].
    """
    inputs = task.data_preprocessor(batch)
    mask = torch.stack([sample.mask for sample in inputs['data_samples']])
    tokens = tokenizer.tokenize(inputs['inputs'][1])
    predicted = task(inputs['inputs'], inputs['data_samples'], mode='predict')
    images = batch['inputs'][0].float() / 255
    return filled_in(images, mask, tokens, predicted, tokenizer.decode, OF_TOKENS)


def filled_in(
    images: Tensor,
    mask: Tensor,
    targets: Tensor,
    predicted: Tensor,
    paint: Callable[[Tensor], Tensor] | None,
    labels: tuple[str, str],
) -> dict[str, Tensor]:
    """What a task was given and what it filled in: the rows of a panel.

    Args:
        images: (B, C, H, W) in [0, 1].
        mask: (B, h, w) bool, True where hidden.
        targets: (B, h, w) or (B, h, w, ...), what was to be predicted.
        predicted: Of the same shape; counts where hidden.
        paint: Makes images of targets; None where nothing does.
        labels: Of the rows of the targets and of what was predicted.

    Returns:
        Label -> (B, C, H, W) in [0, 1].
    """
    rows = {'original': images, 'masked input': hide_patches(images, mask)}
    if paint is not None:
        hidden = mask.reshape(*mask.shape, *[1] * (targets.ndim - mask.ndim))
        rows[labels[0]] = paint(targets)
        rows[labels[1]] = paint(torch.where(hidden, predicted, targets))
    return rows


def draw_reconstructions(
    rows: Mapping[str, Tensor],
    path: str | Path,
    shown: Shown = None,
    bands: Sequence[str] | None = None,
) -> None:
    """Write a labelled panel, a row for each kind of picture and a column for each image.

    Args:
        rows: Label -> (B, C, H, W), clipped to [0, 1]; rows may differ in size.
        path: Where the PNG goes.
        shown, bands: Which bands are red, green and blue, and the names of all; see
            :func:`beit_mm.visualization.shown_places`.
    """
    _panel(rows, shown, bands).savefig(path, dpi=DPI)


def panel_of(
    rows: Mapping[str, Tensor], shown: Shown = None, bands: Sequence[str] | None = None
) -> np.ndarray:
    """The panel of :func:`draw_reconstructions` as pixels.

    Args:
        rows, shown, bands: As there.

    Returns:
        (H', W', 3) uint8, RGB.
    """
    figure = _panel(rows, shown, bands)
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def _panel(rows: Mapping[str, Tensor], shown: Shown, bands: Sequence[str] | None) -> Figure:
    columns = len(next(iter(rows.values())))
    figure = Figure(figsize=(1.1 * columns + 1.6, 1.1 * len(rows)), layout='constrained')
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, (label, images) in zip(axes, rows.items(), strict=True):
        row[0].set_ylabel(label, rotation=0, ha='right', va='center')
        for axis, image in zip(row, in_three_bands(images, shown, bands), strict=True):
            axis.imshow(np.asarray(image.permute(1, 2, 0)), interpolation='nearest')
            axis.set(xticks=[], yticks=[])
    return figure
