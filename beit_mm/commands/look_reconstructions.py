"""``beit-mm look reconstructions``: what a pre-training fills in of one's own images."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..component import ConfigError
from ..datasets import blockwise_mask
from ..datasets.masks.random_patches import random_mask
from ..datasets.reading.measuring import spread
from ..models import MaskedAutoencoder, MaskedPatchPrediction, MeanColorTargetGenerator
from ..models.data_preprocessor import in_colors
from ..models.painter import Painter, painter_of
from ..visualization.picture_rows import draw_picture_rows
from ..visualization.predicted_tokens import COLORS, TOKENS, Hits, Labels, count_hits, fillings
from ..visualization.reconstructions import filled_in
from ..visualization.triplets import HEADINGS, draw_triplets
from .kind_of_pixels import settle_pixels
from .look_arguments import MASKS
from .looked_images import LookedAt, look_at
from .picture_files import picture_path, write_picture
from .predicting import files_of
from .pretrained_task import PretrainedTask, pretrained_task

# What is hidden and how much of it, as the papers of the pre-trainings have it.
USUAL = {MaskedAutoencoder: (MASKS[1], 0.75), MaskedPatchPrediction: (MASKS[1], 0.5)}
# Images at once.
BATCH = 8
# The paper's smallest block, of the patches.
MIN_BLOCK = 16 / 196
# Characters of a file's name above its column.
NAME = 13


@torch.no_grad()
def look_reconstructions(
    model: str | Path,
    images: Sequence[str | Path],
    tokenizer: str | Path | None = None,
    mask: str | None = None,
    share: float | None = None,
    temperature: float | None = None,
    seed: int = 0,
    count: int = 8,
    size: int | None = None,
    out: str | Path | None = None,
) -> Path:
    """Draw images, what is hidden of them, and what a pre-training fills in.

    Args:
        model: Folder of ``beit-mm pretrain`` or of the quickstart, a work directory, or a
            checkpoint of a pre-training, ours or public.
        images: Files, or folders of them, of which some are taken, evenly spread.
        tokenizer: Of its visual tokens where the weights do not hold it: a folder of a
            pre-training, a tokenizer's checkpoint, or OpenAI's ``encoder.pkl`` with ``decoder.pkl``
            beside it.
        mask: 'blockwise' or 'random'; without, as the paper of the pre-training: of MAE and ViT
            random, else blockwise.
        share: Of the patches that are hidden; without, of MAE 0.75, of ViT 0.5, else 0.4.
        temperature: Of tokens that are drawn, in a row of their own; not of MAE, which has none.
        seed: Of the masks and of the drawn tokens.
        count: Most images.
        size: Height and width of an image; without, that of the weights.
        out: The picture, .png; by default ``work_dirs/look/reconstructions.png``. Beside it
            ``.npz``: ``names``; ``mask``, ``targets`` and ``predicted_targets`` (B, h, w), of
            values (B, h, w, n); each row, (B, C, H, W) float16 in [0, 1]; and of tokens ``hidden``,
            ``first`` and ``among`` (B,), how many places were hidden, predicted, and among the
            first five, and ``counts`` (V,), of the hidden tokens.

    Returns:
        The picture.

    Raises:
        ConfigError: If the model is no pre-training, or an option cannot be.
    """
    path = picture_path(out, 'reconstructions')
    if share is not None and not 0 < share < 1:
        raise ConfigError(f'--share is {share}; it must be between 0 and 1')
    if mask is not None and mask not in MASKS:
        raise ConfigError(f'--mask is {mask!r}; it must be one of {", ".join(MASKS)}')
    files = files_of(images)
    pretrained = pretrained_task(model, tokenizer, size)
    take = pretrained.take.for_images(Path(), [str(file) for file in files])
    pretrained = pretrained._replace(take=take)
    is_mae = isinstance(pretrained.task, MaskedAutoencoder)
    usual_mask, usual_share = USUAL.get(type(pretrained.task), (MASKS[0], 0.4))
    mask, share = mask or usual_mask, share or usual_share
    colors = functools.partial(in_colors, take.how) if pretrained.one_view else None
    if pretrained.lacks:
        print(f'no pictures of visual tokens, as their decoder is missing: {pretrained.lacks}')
    # A folder's first images are often of one class.
    first = spread(list(files), count)
    ordered = {file: files[file] for file in dict.fromkeys([*first, *files])}
    grid = [take.size // patch for patch in pretrained.task.backbone.patch_size]
    painter, parts, done = None, list[Filled](), 0
    for part in look_at(take, ordered, BATCH, count):
        masks = [_mask(mask, grid, share, (seed, done + i)) for i in range(len(part.names))]
        hidden = torch.from_numpy(np.stack(masks)).to(part.batch.device)
        if not parts:
            if pretrained.unsure:
                print(settle_pixels(pretrained.task, part.batch, hidden))
            painter = painter_of(pretrained.task.target_generator, pretrained.tokenizer, colors)
        parts.append(_fill(part, hidden, pretrained, painter, temperature, seed + done))
        done += len(part.names)
    filled = _joined(parts)
    titles = [_short(name) for name in filled.names]
    arrays = filled.arrays
    if filled.hits is not None:
        print(filled.hits.line(_labels_of(pretrained)))
        arrays |= filled.hits._asdict()
        titles = [
            f'{title}\n{right} of {hidden} right'
            for title, right, hidden in zip(
                titles, filled.hits.first, filled.hits.hidden, strict=True
            )
        ]
    else:
        print(_line_of_values(arrays))
    note, bands = painter.note if painter else '', take.how.reading.names
    rows = filled.rows
    if is_mae and painter is not None and painter.kept is None:
        of = 'masked input', painter.filled, 'original'
        columns = {heading: rows[name] for heading, name in zip(HEADINGS, of, strict=True)}
        figure = draw_triplets(columns, titles, bands=bands, note=note)
    else:
        figure = draw_picture_rows(rows, bands=bands, titles=titles, note=note)
    pictures = {name.replace('\n', ' '): row.half().numpy() for name, row in rows.items()}
    return write_picture(figure, path, dict(names=np.array(filled.names), **arrays, **pictures))


class Filled(NamedTuple):
    """Images that are filled in.

    Attributes:
        names: Of the images.
        rows: Label -> (B, C, H, W).
        arrays: Name -> (B, ...).
        hits: Of visual tokens or mean colors; None of targets that are values.
    """

    names: list[str]
    rows: dict[str, Tensor]
    arrays: dict[str, np.ndarray]
    hits: Hits | None


def _joined(parts: Sequence[Filled]) -> Filled:
    """Those of several batches in one."""
    first = parts[0]
    hits = [part.hits for part in parts if part.hits is not None]
    return Filled(
        [name for part in parts for name in part.names],
        {name: torch.cat([part.rows[name] for part in parts]) for name in first.rows},
        {name: np.concatenate([part.arrays[name] for part in parts]) for name in first.arrays},
        Hits.sum_of(hits) if hits else None,
    )


def _fill(
    part: LookedAt,
    mask: Tensor,
    pretrained: PretrainedTask,
    painter: Painter | None,
    temperature: float | None,
    seed: int,
) -> Filled:
    task = pretrained.task
    images = in_colors(pretrained.take.how, part.batch).clamp(0, 1)
    size = [places * task.target_generator.stride for places in mask.shape[1:]]
    second = part.batch if pretrained.one_view else images
    if not pretrained.one_view and size != list(images.shape[2:]):
        second = F.interpolate(images, size=size, mode='bicubic', antialias=True).clamp(0, 1)
    targets, outputs = task.target_generator(second), task.outputs(part.batch, mask).float()
    arrays = dict(mask=mask.cpu().numpy(), targets=targets.cpu().numpy())
    if targets.is_floating_point():
        if temperature is not None:
            raise ConfigError(
                f'--temperature is {temperature:g}, and the targets of this pre-training are '
                'values and no tokens to draw: leave it out'
            )
        predicted: Any = outputs
        hits = None
        errors = (outputs - targets).square().mean(dim=-1)
        arrays |= dict(predicted_targets=outputs.cpu().numpy(), errors=errors.cpu().numpy())
    else:
        labels = _labels_of(pretrained)
        predicted = fillings(outputs, temperature, seed, labels)
        hits = count_hits(outputs, targets, mask)
        arrays |= dict(predicted_targets=predicted[labels.likely].cpu().numpy())
    rows = filled_in(images, second, mask, targets, predicted, painter)
    return Filled(part.names, {name: row.cpu() for name, row in rows.items()}, arrays, hits)


def _labels_of(pretrained: PretrainedTask) -> Labels:
    of_colors = isinstance(pretrained.task.target_generator, MeanColorTargetGenerator)
    return COLORS if of_colors else TOKENS


def _mask(kind: str, grid: Sequence[int], share: float, seed: Sequence[int]) -> np.ndarray:
    """(h, w) bool, as many hidden as the paper's 75 of 196 are of 40 %."""
    rng = np.random.default_rng(seed)
    height, width = grid
    hidden = max(1, int(share * height * width))
    if kind == 'random':
        return random_mask((height, width), hidden, rng=rng)
    smallest = min(hidden, max(2, round(MIN_BLOCK * height * width)))
    return blockwise_mask((height, width), hidden, min_block=smallest, rng=rng)


def _line_of_values(arrays: Mapping[str, np.ndarray]) -> str:
    """How well values are predicted at hidden places."""
    mask = arrays['mask']
    return (
        f'hidden patches: squared error {arrays["errors"][mask].mean():.4f}; their values have a '
        f'variance of {arrays["targets"][mask].var():.4f}'
    )


def _short(name: str) -> str:
    """The end of a name that a column has room for."""
    stem = Path(name).stem
    return stem if len(stem) <= NAME else f'\N{HORIZONTAL ELLIPSIS}{stem[1 - NAME :]}'
