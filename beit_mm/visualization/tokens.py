"""What visual tokens stand for, how often each is used, and what is kept of images."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

# Pixels of a cell, between cells, and behind the decoder's; the frame of the patch itself.
CELL, GAP, BEHIND = 48, 3, 12
FRAME, THICK = (255, 60, 60), 2
# What is beyond the edges of a photo.
OUTSIDE = 200


class CodeRow(NamedTuple):
    """A row of the contact sheet.

    Attributes:
        code: Its number.
        share: Of all places, which have it.
        patches: (K, E, E, 3) uint8, from :func:`patches_around`.
        decoded: (s, s, 3) uint8, the decoder's picture of it alone; s divides E. None without a
            decoder.
    """

    code: int
    share: float
    patches: np.ndarray
    decoded: np.ndarray | None


class Redrawn(NamedTuple):
    """Images made of tokens again.

    Attributes:
        label: How the tokens were chosen.
        pictures: (N, H, W, 3) uint8.
    """

    label: str
    pictures: np.ndarray


def patches_around(photo: np.ndarray, places: np.ndarray, patch: int) -> np.ndarray:
    """Patches of a photo with half a patch around them; grey beyond the edges of the photo.

    Args:
        photo: (H, W, 3) uint8.
        places: (K, 2) row and column of patches.
        patch: Their height and width, p.

    Returns:
        (K, E, E, 3) uint8, E = 2 (p // 2) + p.
    """
    margin = patch // 2
    wide = np.pad(photo, ((margin, margin), (margin, margin), (0, 0)), constant_values=OUTSIDE)
    edge = patch + 2 * margin
    cells = [wide[row : row + edge, column : column + edge] for row, column in places * patch]
    return np.stack(cells) if cells else np.zeros((0, edge, edge, 3), np.uint8)


def draw_tokens(
    groups: Mapping[str, Sequence[CodeRow]],
    counts: np.ndarray,
    perplexity: float,
    redrawn: Sequence[Redrawn],
    title: str,
    said: str = '',
) -> Figure:
    """A contact sheet of codes, the curve of their use, and images made of them again.

    Args:
        groups: Title -> rows; three columns.
        counts: (V,) how often each code is used.
        perplexity: Of it.
        redrawn: The images, and below them what is made of their tokens; none without a decoder.
        title: Of the picture.
        said: What is wrong, in a line; drawn in red.
    """
    deepest = max(len(rows) for rows in groups.values())
    upper, lower = 0.29 * deepest + 0.5, max(2.6, 0.62 * len(redrawn) + 0.3)
    figure = Figure(figsize=(10, upper + lower + 0.4), layout='constrained')
    figure.suptitle(title, fontsize=10)
    if said:
        figure.supxlabel(said, fontsize=9, color='tab:red')
    parts: Any = figure.subfigures(2, 1, height_ratios=(upper, lower))
    above, below = parts
    axes = above.subplots(1, len(groups), squeeze=False)[0]
    for axis, (name, rows) in zip(axes, groups.items(), strict=True):
        _draw_rows(axis, name, rows)
    if redrawn:
        left, right = below.subfigures(1, 2, width_ratios=(1, 1.6))
        _draw_redrawn(right, redrawn)
    else:
        left = below
    _draw_use(left.subplots(), counts, perplexity)
    return figure


def _draw_rows(axis: Axes, name: str, rows: Sequence[CodeRow]) -> None:
    """A code in each row: the decoder's picture of it, and patches that have it."""
    axis.set_title(name, fontsize=9)
    axis.set_anchor('N')
    for spine in axis.spines.values():
        spine.set_visible(False)
    axis.tick_params(length=0, labelsize=7, pad=2, top=False, labeltop=True, labelbottom=False)
    if not rows:
        axis.set(xticks=[], yticks=[])
        return
    cells = [[_framed(patch) for patch in row.patches] for row in rows]
    edge = len(cells[0][0])
    step, begin = edge + GAP, 0 if rows[0].decoded is None else edge + BEHIND
    most = max(len(patches) for patches in cells)
    sheet = np.full((len(rows) * step - GAP, begin + most * step - GAP, 3), 255, dtype=np.uint8)
    for number, (row, patches) in enumerate(zip(rows, cells, strict=True)):
        line = sheet[number * step : number * step + edge]
        if row.decoded is not None:
            line[:, :edge] = _enlarged(row.decoded, edge)
        for place, patch in enumerate(patches):
            line[:, begin + place * step : begin + place * step + edge] = patch
    axis.imshow(sheet, interpolation='nearest')
    labels = [f'{row.code}   {100 * row.share:.2g} %' for row in rows]
    axis.set_yticks([n * step + edge / 2 for n in range(len(rows))], labels)
    ticks = {'patches of images': begin + most * step / 2}
    if begin:
        ticks['decoder'] = edge / 2
    axis.set_xticks([*ticks.values()], [*ticks])


def _enlarged(cell: np.ndarray, least: int = CELL) -> np.ndarray:
    """Each pixel several times, so that a frame around the patch is thin."""
    times = max(1, -(-least // len(cell)))
    return cell.repeat(times, axis=0).repeat(times, axis=1)


def _framed(cell: np.ndarray) -> np.ndarray:
    """A patch with what is around it, and a frame between the two."""
    large = _enlarged(cell)
    begin, end = len(large) // 4, len(large) - len(large) // 4
    outer = np.zeros(large.shape[:2], dtype=bool)
    outer[begin - THICK : end + THICK, begin - THICK : end + THICK] = True
    outer[begin:end, begin:end] = False
    return np.where(outer[..., None], np.array(FRAME, dtype=np.uint8), large)


def _draw_use(axis: Axes, counts: np.ndarray, perplexity: float) -> None:
    """Shares of the codes, the most used first."""
    shares = np.sort(counts)[::-1] / max(1, counts.sum())
    used = int((counts > 0).sum())
    axis.fill_between(np.arange(1, used + 1), shares[:used], shares[used - 1] / 2, alpha=0.3,
                      step='mid')  # fmt: skip
    axis.step(np.arange(1, used + 1), shares[:used], where='mid')
    axis.axhline(1 / len(counts), color='black', linestyle=':', linewidth=1)
    axis.text(len(counts), 1 / len(counts), 'all alike ', fontsize=7, ha='right', va='bottom')
    axis.set_yscale('log')
    axis.set(xlim=(0, len(counts) + 1), ylim=(shares[used - 1] / 2, max(2 * shares[0], 0.1)))
    axis.yaxis.set_major_formatter(lambda value, _: f'{value:.4%}'.rstrip('0%').rstrip('.') + ' %')
    axis.set_xlabel('codes, most used first', fontsize=8)
    axis.set_ylabel('share of the places', fontsize=8)
    axis.tick_params(labelsize=7)
    axis.set_title(
        f'{used:,} of {len(counts):,} codes in use, perplexity {perplexity:.0f}\n'
        f'most common {shares[0]:.1%}',
        fontsize=9,
    )


def _draw_redrawn(figure: SubFigure, redrawn: Sequence[Redrawn]) -> None:
    columns = len(redrawn[0].pictures)
    axes = figure.subplots(len(redrawn), columns, squeeze=False)
    for row, (label, pictures) in zip(axes, redrawn, strict=True):
        row[0].set_ylabel(label, rotation=0, ha='right', va='center', fontsize=8)
        for axis, picture in zip(row, pictures, strict=True):
            axis.imshow(picture, interpolation='nearest')
            axis.set(xticks=[], yticks=[])
