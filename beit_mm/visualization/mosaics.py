"""Many small pictures as one array: hundreds of axes would take matplotlib minutes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

# Height and width of a panel, in pixels and in inches, and the gap between two.
SIDE, INCHES, GAP = 160, 1.0, 10
# So few images are shown twice as large; so many pairs are in a row.
FEW, PAIRS = 2, 4


def mosaic(panels: np.ndarray, gap: int, fill: float = np.nan) -> np.ndarray:
    """Panels in rows and columns, with gaps between them.

    Args:
        panels: (R, C, h, w) or (R, C, h, w, bands).
        gap: Pixels between two.
        fill: Of the gaps.

    Returns:
        (R (h + gap) - gap, C (w + gap) - gap) or with bands, of the dtype of the panels.
    """
    rows, columns, height, width = panels.shape[:4]
    padded = np.full(
        (rows, height + gap, columns, width + gap, *panels.shape[4:]), fill, panels.dtype
    )
    padded[:, :height, :, :width] = np.moveaxis(panels, 2, 1)
    whole = padded.reshape(rows * (height + gap), columns * (width + gap), *panels.shape[4:])
    return whole[: len(whole) - gap, : whole.shape[1] - gap]


def middles(count: int, length: int, gap: int) -> np.ndarray:
    """Where the middles of panels of so many pixels lie on an axis of :func:`mosaic`, (count,)."""
    return np.arange(count) * (length + gap) + (length - 1) / 2


def panel(picture: np.ndarray, side: int = SIDE) -> np.ndarray:
    """A picture (H, W, 3) uint8 as a panel (side, side, 3); a pixel of a small one stays a square.

    Args:
        picture: It.
        side: Of the panel.
    """
    shrinks = max(picture.shape[:2]) > side
    how = Image.Resampling.BICUBIC if shrinks else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(picture).resize((side, side), how))


def mosaic_figure(panels: np.ndarray, title: str) -> tuple[Figure, Axes]:
    """A figure with nothing but panels (R, C, side, side, 3) uint8, and a title above them."""
    rows, columns, side = panels.shape[:3]
    inches = INCHES * (side + GAP) / SIDE
    figure = Figure(figsize=(columns * inches + 0.4, rows * inches + 0.55), layout='constrained')
    figure.suptitle(title, fontsize=10, wrap=True)
    axis = figure.subplots()
    axis.imshow(mosaic(panels, GAP, 255), interpolation='none')
    axis.tick_params(length=0, top=False, labeltop=True, labelbottom=False, pad=2)
    axis.spines[:].set_visible(False)
    return figure, axis


def side_of_pairs(count: int) -> int:
    """Pixels of a panel of so many pairs."""
    return SIDE if count > FEW else 2 * SIDE


def draw_pairs(
    photos: Sequence[np.ndarray], others: Sequence[np.ndarray], title: str, what: str
) -> Figure:
    """Photos, and beside each something of it.

    Args:
        photos: (H, W, 3) uint8.
        others: As many, (H', W', 3) uint8.
        title: Of the whole.
        what: What stands beside the photos, in a word.
    """
    pairs, side = min(PAIRS, len(photos)), side_of_pairs(len(photos))
    panels = [panel(each, side) for pair in zip(photos, others, strict=True) for each in pair]
    panels += [np.full((side, side, 3), 255, np.uint8)] * (-len(panels) % (2 * pairs))
    whole = np.array(panels).reshape(-1, 2 * pairs, side, side, 3)
    figure, axis = mosaic_figure(whole, title)
    axis.set_xticks(middles(2 * pairs, side, GAP), ['image', what] * pairs, fontsize=8)
    axis.set_yticks([])
    return figure
