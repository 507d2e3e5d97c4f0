"""A map of images: what a network takes for alike lies together."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

# So many classes, the commonest, have colours of their own: 10 clear ones, or 20 in pairs.
MOST_COLOURED = 20
# Pixels around a picture, in the colour of its class.
FRAME = 3
# Of a class's name.
LETTERS = 24


def cells_of(coordinates: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Which images are shown, at most one in each cell of a grid: no two pictures overlap.

    Args:
        coordinates: (N, 2) float; the grid is laid over the range of each.
        cells: Of a row and of a column.

    Returns:
        (K,) int64, the image nearest to the middle of each cell that has any, in order; and (K, 2)
        int64, the cells, column and row, counted from the least coordinate.
    """
    low, high = coordinates.min(axis=0), coordinates.max(axis=0)
    places = (coordinates - low) / np.maximum(high - low, 1e-12) * cells
    inside = np.minimum(places.astype(np.int64), cells - 1)
    off = np.square(places - inside - 0.5).sum(axis=1)
    numbers = inside[:, 1] * cells + inside[:, 0]
    nearest_first = np.lexsort((off, numbers))
    _, first = np.unique(numbers[nearest_first], return_index=True)
    chosen = np.sort(nearest_first[first])
    return chosen, inside[chosen]


def draw_image_map(
    coordinates: np.ndarray,
    labels: Sequence[str],
    chosen: np.ndarray,
    pictures: Sequence[np.ndarray],
    places: np.ndarray,
    cells: int,
    title: str,
    axes: tuple[str, str] = ('', ''),
) -> Figure:
    """Pictures on a map, and beside it, where classes are known, a dot for each image.

    The commonest classes have colours, those of the dots and of the frames of the pictures.

    Args:
        coordinates: (N, 2).
        labels: (N,) names of classes, '' where not known.
        chosen, places, cells: As :func:`cells_of` gives and takes them.
        pictures: (H, W, 3) uint8 photos of those chosen.
        title: Of the figure.
        axes: What the coordinates are.
    """
    known = any(labels)
    panels = 2 if known else 1
    figure = Figure(figsize=(6.0 * panels + (1.3 if known else 0), 6.4), layout='constrained')
    figure.suptitle(title, fontsize=10)
    drawn = figure.subplots(1, panels, squeeze=False)[0]
    for axis in drawn:
        axis.set(xticks=[], yticks=[], box_aspect=1)
        axis.set_xlabel(axes[0], fontsize=8)
        axis.set_ylabel(axes[1], fontsize=8)
    colors = _colors_of(labels)
    frames = [colors.get(labels[image]) for image in chosen]
    axis = drawn[0]
    axis.imshow(_canvas(pictures, frames, places, cells), interpolation='antialiased')
    if known:
        _draw_dots(drawn[1], coordinates, np.array(labels), colors)
    return figure


def _colors_of(labels: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """Class -> colour, of the commonest, in the order of the images."""
    counts = Counter(label for label in labels if label)
    commonest = {label for label, _ in counts.most_common(MOST_COLOURED)}
    named = [label for label in counts if label in commonest]
    palette = colormaps['tab10' if len(named) <= 10 else 'tab20']
    return {label: palette(index)[:3] for index, label in enumerate(named)}


def _canvas(
    pictures: Sequence[np.ndarray], frames: Sequence, places: np.ndarray, cells: int
) -> np.ndarray:
    """Pictures in their cells, as one: matplotlib takes minutes for hundreds of them."""
    edge = max(max(picture.shape[:2]) for picture in pictures) + 2 * FRAME
    canvas = np.full((cells * edge, cells * edge, 3), 255, np.uint8)
    for picture, color, (column, row) in zip(pictures, frames, places, strict=True):
        # The first row of pixels is at the top, the least coordinate at the bottom.
        top, left = (cells - 1 - row) * edge, column * edge
        cell = canvas[top : top + edge, left : left + edge]
        if color is not None:
            cell[:] = np.rint(np.multiply(color, 255))
        height, width = picture.shape[:2]
        down, right = (edge - height) // 2, (edge - width) // 2
        cell[down : down + height, right : right + width] = picture
    return canvas


def _draw_dots(axis, coordinates: np.ndarray, labels: np.ndarray, colors: dict) -> None:
    """The classes that have colours, with a legend; the others in grey below them."""
    size = float(np.clip(6000 / len(labels), 3, 25))
    others = ~np.isin(labels, list(colors))
    if others.any():
        kinds = len({*labels[others]} - {''})
        told = f'{kinds} other classes' if kinds else 'no class'
        axis.scatter(*coordinates[others].T, s=size, color='0.85', linewidths=0, label=told)
    for label, color in colors.items():
        of_class = coordinates[labels == label]
        name = label if len(label) <= LETTERS else f'{label[: LETTERS - 1]}…'
        axis.scatter(*of_class.T, s=size, color=color, linewidths=0, label=name)
    handles, names = axis.get_legend_handles_labels()
    # What is drawn first, below the others, is named last.
    first = int(others.any())
    axis.legend(
        handles[first:] + handles[:first],
        names[first:] + names[:first],
        loc='center left', bbox_to_anchor=(1.0, 0.5), fontsize=7, frameon=False, markerscale=1.5,
        handletextpad=0.2,
    )  # fmt: skip
    axis.margins(0.02)
