"""What a network has learned of positions: its relative tables and its absolute positions."""

import numpy as np
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

from .mosaics import middles, mosaic

# The rows of a table behind its offsets, in their order.
OF_S = ('[S] to patch', 'patch to [S]', '[S] to [S]')
# Positions of an axis whose similarities are drawn: at 14 x 14 all.
MOST_PLACES = 16


def offset_maps(table: Tensor, grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A relative position table as maps: the bias of a patch by where it lies from the query.

    Args:
        table: ((2h - 1)(2w - 1) + 3, heads), rows as
            :func:`beit_mm.relative_index.relative_position_index` has them.
        grid: Its patches (h, w).

    Returns:
        (heads, 2h - 1, 2w - 1) float32, the query in the middle: a key that lies dy below and dx
        to the right of it is at [h - 1 + dy, w - 1 + dx]; and (heads, 3) float32, the biases of [S]
        to a patch, of a patch to [S], and of [S] to itself.
    """
    height, width = grid
    of_head = table.detach().float().cpu().T
    # A row is for query minus key; the map shows key minus query.
    maps = of_head[:, :-3].unflatten(1, (2 * height - 1, 2 * width - 1)).flip(1, 2)
    return maps.numpy(), of_head[:, -3:].numpy()


def position_similarities(positions: Tensor, grid: tuple[int, int]) -> np.ndarray:
    """Cosine of each patch's absolute position with all others' (ViT, figure 7, centre).

    Args:
        positions: (1, 1 + h w, C), [S] first, or other tokens, which are left out.
        grid: Patches (h, w).

    Returns:
        (h, w, h, w) float32 in [-1, 1].
    """
    patches = positions.detach()[0, -grid[0] * grid[1] :]
    rows = F.normalize(patches.float().cpu(), dim=1)
    return (rows @ rows.T).clamp(-1, 1).unflatten(1, grid).unflatten(0, grid).numpy()


def draw_offset_maps(maps: np.ndarray, of_s: np.ndarray) -> Figure:
    """Heat maps of relative tables, a row for each table and a column for each head.

    Args:
        maps: (T, heads, 2h - 1, 2w - 1), from :func:`offset_maps`. T is 1 where all blocks share
            a table, else the number of blocks.
        of_s: (T, heads, 3).
    """
    tables, heads, height, width = maps.shape
    inches = min(1.2, 7 / heads) if tables == 1 else max(0.4, min(0.62, 9 / tables))
    across, down = inches * heads, inches * tables * height / width
    below = 0.6 if tables == 1 else 0.5 + 0.08 * tables
    figure = Figure(figsize=(across + 2.2, down + below + 1.3), layout='compressed')
    shared = ', one table for all blocks' if tables == 1 else ''
    figure.suptitle(f'Relative position bias by offset from the query{shared}', fontsize=10)
    top, bottom = figure.subplots(2, 1, height_ratios=(down, below))
    gap = max(1, round(0.07 * width))
    spreads = np.abs(maps).reshape(tables, -1).max(axis=1)
    scaled = maps / np.where(spreads > 0, spreads, 1)[:, None, None, None]
    image = top.imshow(
        mosaic(scaled, gap), cmap='RdBu_r', vmin=-1, vmax=1,
        interpolation='none',
    )  # fmt: skip
    y, x = middles(tables, height, gap), middles(heads, width, gap)
    across_all, down_all = np.meshgrid(x, y)
    top.plot(across_all.ravel(), down_all.ravel(), 'k+', markersize=3, markeredgewidth=0.6)
    spreads_told = [f'±{spread:.2g}' if spread > 0 else '0' for spread in spreads]
    if tables > 1:
        spreads_told = [f'{index}  {told}' for index, told in enumerate(spreads_told)]
    top.set_yticks(y, spreads_told, fontsize=7)
    top.set_xticks(x, list(map(str, range(heads))), fontsize=7)
    top.set_xlabel('head', fontsize=8)
    top.set_ylabel('block, and its largest bias' if tables > 1 else 'largest bias', fontsize=8)
    _color_bar(figure, image, top, "share of the row's largest")
    (_draw_of_s if tables > 1 else _draw_shared_of_s)(figure, bottom, of_s)
    for axis in (top, bottom):
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    return figure


def _draw_of_s(figure: Figure, axis: Axes, of_s: np.ndarray) -> None:
    """The three biases of [S], each a picture of blocks by heads."""
    tables, heads = of_s.shape[:2]
    gap = max(1, heads // 6)
    panels = mosaic(np.moveaxis(of_s, 2, 0)[None], gap)
    _color_bar(figure, _signed(axis, panels), axis, 'bias')
    axis.set_xticks(middles(3, heads, gap), [f'{name}, by head' for name in OF_S], fontsize=8)
    axis.set_yticks([0, tables - 1], ['0', str(tables - 1)], fontsize=7)
    axis.set_ylabel('block', fontsize=8)


def _draw_shared_of_s(figure: Figure, axis: Axes, of_s: np.ndarray) -> None:
    """The three biases of [S] of one table, a row each, below the maps of their heads."""
    _color_bar(figure, _signed(axis, of_s[0].T), axis, 'bias')
    axis.set_yticks(range(3), OF_S, fontsize=7)
    axis.set_xticks([])


def _signed(axis: Axes, values: np.ndarray) -> AxesImage:
    # Of a network that has not learned all are 0.
    most = float(np.nanmax(np.abs(values))) or 1.0
    return axis.imshow(
        values, cmap='RdBu_r', vmin=-most, vmax=most, interpolation='none', aspect='auto'
    )


def _color_bar(figure: Figure, image: AxesImage, axis: Axes, label: str) -> None:
    bar = figure.colorbar(image, ax=axis, fraction=0.03, pad=0.02, aspect=30)
    bar.set_label(label, fontsize=8)
    bar.ax.tick_params(labelsize=7)


def draw_similarities(similarities: np.ndarray) -> Figure:
    """A grid of grids: of each position, how like it all others are.

    Args:
        similarities: (h, w, h, w), from :func:`position_similarities`; of long axes some positions
            at even steps are drawn.
    """
    height, width = similarities.shape[:2]
    figure = Figure(figsize=(6.4, 5.6 * max(0.4, min(2.0, height / width))), layout='compressed')
    figure.suptitle('Similarity of absolute positions', fontsize=10)
    show_similarities(figure, figure.subplots(), similarities)
    return figure


def show_similarities(figure: Figure, axis: Axes, similarities: np.ndarray) -> None:
    """What :func:`draw_similarities` shows, in a place of a figure."""
    height, width = similarities.shape[:2]
    rows, columns = (
        np.linspace(0, count - 1, min(count, MOST_PLACES)).round().astype(int)
        for count in (height, width)
    )
    panels = similarities[rows][:, columns]
    low = min(0.0, float(similarities.min()))
    gap = max(1, round(0.12 * max(height, width)))
    image = axis.imshow(mosaic(panels, gap), cmap='viridis', vmin=low, vmax=1, interpolation='none')
    axis.set_yticks(middles(len(rows), height, gap), rows, fontsize=7)
    axis.set_xticks(middles(len(columns), width, gap), columns, fontsize=7)
    axis.set_ylabel('row of the patch', fontsize=8)
    axis.set_xlabel('column of the patch', fontsize=8)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    _color_bar(figure, image, axis, 'cosine')
