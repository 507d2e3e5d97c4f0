"""What the tokenizer keeps of an image, and what the Transformer fills in."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor


def hide_patches(images: Tensor, mask: Tensor, grey: float = 0.5) -> Tensor:
    """Images with their masked patches painted grey.

    Args:
        images: (B, 3, H, W) in [0, 1].
        mask: (B, h, w) bool, True where hidden; H and W are multiples of h and w.
        grey: What hidden pixels become.

    Returns:
        (B, 3, H, W) in [0, 1].
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
        batch: As the task's data loader yields it: two views, (B, 3, H, W) uint8, and masks.

    Returns:
        Label -> (B, 3, H, W) in [0, 1].
    """
    inputs = task.data_preprocessor(batch)
    mask = torch.stack([sample.mask for sample in inputs['data_samples']])
    tokens = tokenizer.tokenize(inputs['inputs'][1])
    predicted = task(inputs['inputs'], inputs['data_samples'], mode='predict')
    images = batch['inputs'][0].float() / 255
    return {
        'original': images,
        'masked input': hide_patches(images, mask),
        "tokenizer's\nreconstruction": tokenizer.decode(tokens),
        'from predicted\ntokens': tokenizer.decode(torch.where(mask, predicted, tokens)),
    }


def draw_reconstructions(rows: dict[str, Tensor], path: str | Path) -> None:
    """Write a labelled panel, a row for each kind of picture and a column for each image.

    Args:
        rows: Label -> (B, 3, H, W) in [0, 1]; rows may differ in size.
        path: Where the PNG goes.
    """
    columns = len(next(iter(rows.values())))
    figure = Figure(figsize=(1.1 * columns + 1.6, 1.1 * len(rows)), layout='constrained')
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, (label, images) in zip(axes, rows.items(), strict=True):
        row[0].set_ylabel(label, rotation=0, ha='right', va='center')
        for axis, image in zip(row, images, strict=True):
            axis.imshow(np.asarray(image.clamp(0, 1).permute(1, 2, 0)), interpolation='nearest')
            axis.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=120)
