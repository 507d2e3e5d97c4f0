"""Pictures of attention: over photos, and its distance by depth."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from .attention_maps import place_of
from .mosaics import GAP, SIDE, draw_pairs, middles, mosaic_figure, panel, side_of_pairs

# How dark the photo is where no attention goes, and how much of it is left where most goes.
DARK, LEFT = 0.35, 0.3
# Of the values of a map the share that is drawn brightest: single patches would darken the rest.
BRIGHTEST = 0.995
# Letters of a line beside a photo; the end of a name tells more than its beginning.
LETTERS = 15
S = '[S]'
# A point as fractions of height and width; None for [S], which has no place.
Point = tuple[float, float] | None


class Row(NamedTuple):
    """A photo, and maps over it.

    Attributes:
        name: What stands beside it, of a line or two.
        photo: (S, S, 3) uint8.
        maps: (K, h, w) float, 0 or more.
        points: K of them: whose map it is.
    """

    name: str
    photo: np.ndarray
    maps: np.ndarray
    points: Sequence[Point]


def overlay(photo: np.ndarray, heat: np.ndarray, low: float = 0.0) -> np.ndarray:
    """A map over a photo, which is grey and dark where the map is low.

    Args:
        photo: (H, W, 3) uint8.
        heat: (h, w) float; drawn up to its largest values.
        low: What is drawn dark.

    Returns:
        (H, W, 3) uint8.
    """
    height, width = photo.shape[:2]
    most = max(float(np.quantile(heat, BRIGHTEST)) - low, 1e-12)
    small = Image.fromarray(((heat - low) / most).clip(0, 1).astype(np.float32))
    share = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1)
    grey = np.asarray(Image.fromarray(photo).convert('L'), dtype=np.float32)[..., None] / 255
    color = matplotlib.colormaps['magma'](share)[..., :3]
    weight = share[..., None]
    mixed = DARK * grey * (1 - weight) + weight * ((1 - LEFT) * color + LEFT * grey)
    return np.rint(255 * mixed.clip(0, 1)).astype(np.uint8)


def draw_attention(rows: Sequence[Row], columns: Sequence[str], title: str) -> Figure:
    """A row for each photo: itself with its points, and its maps.

    Args:
        rows: With K maps each; each map is drawn from 0 to its own largest value.
        columns: What the maps are, K words.
        title: Of the whole.
    """
    panels = []
    for row in rows:
        photo = panel(row.photo)
        panels.append([photo, *(overlay(photo, heat) for heat in row.maps)])
    figure, axis = mosaic_figure(np.array(panels), title)
    down, across = middles(len(rows), SIDE, GAP), middles(1 + len(columns), SIDE, GAP)
    axis.set_xticks(across, ['image', *columns], fontsize=8)
    names = ['\n'.join(map(_short, row.name.splitlines())) for row in rows]
    axis.set_yticks(down, names, fontsize=7, rotation=90, va='center', ma='center')
    for row, y in zip(rows, down, strict=True):
        for point, x in zip(row.points, across[1:], strict=True):
            if point is not None:
                middle = _middle_of_patch(point, row.maps.shape[1:])
                for column in (across[0], x):
                    _mark(axis, middle, y, column)
    return figure


def draw_rollouts(photos: np.ndarray, maps: np.ndarray) -> Figure:
    """Photos, and beside each what [S] draws on in it.

    Args:
        photos: (B, S, S, 3) uint8.
        maps: (B, h, w), each drawn from its smallest to its largest value: all that goes through
            the residual branches and to no place in particular lies below the smallest.
    """
    side = side_of_pairs(len(photos))
    shown = [
        overlay(panel(photo, side), heat, float(heat.min()))
        for photo, heat in zip(photos, maps, strict=True)
    ]
    return draw_pairs([*photos], shown, f'Attention rollout from {S} to the patches', 'rollout')


def draw_distances(distances: np.ndarray, uniform: float, title: str) -> Figure:
    """How far each head looks, by depth.

    Args:
        distances: (blocks, heads), in pixels.
        uniform: The distance of attention that goes to all patches alike.
        title: Of the whole.
    """
    figure = Figure(figsize=(max(3.6, 1.2 + 0.26 * len(distances)), 3.2), layout='constrained')
    axis = figure.subplots()
    axis.set_title(title, fontsize=10)
    show_distances(axis, distances, uniform)
    return figure


def show_distances(axis: Axes, distances: np.ndarray, uniform: float) -> None:
    """What :func:`draw_distances` shows, in a place of a figure."""
    blocks, heads = distances.shape
    axis.axhline(uniform, color='0.6', linewidth=1, linestyle='--', label='to all patches alike')
    axis.plot(distances.mean(axis=1), color='C0', linewidth=1, alpha=0.5, label='mean')
    axis.scatter(
        np.repeat(np.arange(blocks), heads), distances.ravel(), s=16, color='C0', alpha=0.7,
        linewidths=0, label='a head',
    )  # fmt: skip
    axis.set_xlabel('block', fontsize=8)
    axis.set_ylabel('mean attention distance (pixels)', fontsize=8)
    axis.set_xticks(range(0, blocks, 1 if blocks <= 12 else 2))
    # One lone patch has no distance.
    axis.set_ylim(0, 1.12 * max(uniform, distances.max()) or 1)
    axis.tick_params(labelsize=7)
    axis.legend(fontsize=7, frameon=False, loc='lower right')
    axis.spines[['top', 'right']].set_visible(False)


def _short(line: str) -> str:
    return line if len(line) <= LETTERS else f'…{line[1 - LETTERS :]}'


def _middle_of_patch(point: tuple[float, float], grid: tuple[int, ...]) -> tuple[float, float]:
    """Of the patch that a point lies in: it is the query, not the point."""
    row, column = divmod(place_of(point, (grid[0], grid[1])) - 1, grid[1])
    return (row + 0.5) / grid[0], (column + 0.5) / grid[1]


def _mark(axis: Axes, point: tuple[float, float], y: float, x: float) -> None:
    """A dot in the panel whose middle is there."""
    axis.plot(
        x + (point[1] - 0.5) * SIDE, y + (point[0] - 0.5) * SIDE, 'o', markersize=4.5,
        markerfacecolor='#00e5ff', markeredgecolor='black', markeredgewidth=0.8,
    )  # fmt: skip
