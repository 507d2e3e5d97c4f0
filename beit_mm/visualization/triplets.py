"""What a masked autoencoder saw, what it made of it, and what was there (MAE, figure 2)."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from .mosaics import mosaic
from .picture_rows import DPI, GAP, LETTER, LINE, cells_of
from .shown_bands import Shown

# Images beside each other, each with all its pictures; inches between two, and for a file's name.
ACROSS, BETWEEN, NAME = 2, 0.12, 0.15
HEADINGS = ('masked', 'reconstruction', 'original')


def draw_triplets(
    pictures: Mapping[str, Tensor],
    names: Sequence[str],
    shown: Shown = None,
    bands: Sequence[str] | None = None,
    note: str = '',
) -> Figure:
    """Each image with its pictures side by side, two images in a line.

    Args:
        pictures: Label -> (B, C, H, W), clipped to [0, 1], in the order of the columns; all of one
            size.
        names: Of the images, B.
        shown, bands: Which bands are red, green and blue, and the names of all; see
            :func:`beit_mm.visualization.shown_places`.
        note: Below.

    Returns:
        To be saved at its own dpi.
    """
    cells = np.stack([cells_of(images, shown, bands) for images in pictures.values()])
    kinds, count, height, width, _ = cells.shape
    across = min(ACROSS, count)
    down = -(-count // across)
    wide, tall = (kinds * (width + GAP) - GAP) / DPI, height / DPI
    lines = note.count('\n') + 1 if note else 0
    above, below = LINE + 0.06, LINE * lines + 0.06
    whole = across * (wide + BETWEEN) + BETWEEN
    whole = max(whole, LETTER * max(map(len, note.split('\n'))) + 2 * BETWEEN)
    size = whole, above + down * (tall + NAME + 0.04) + below
    figure = Figure(figsize=size, dpi=DPI)

    def write(x: float, y: float, text: str, **style) -> None:
        figure.text(x / size[0], y / size[1], text, **style)

    for index, name in enumerate(names):
        x = BETWEEN + index % across * (wide + BETWEEN)
        y = size[1] - above - (index // across + 1) * (tall + NAME + 0.04) + NAME + 0.04
        axis = figure.add_axes((x / size[0], y / size[1], wide / size[0], tall / size[1]))
        axis.set_axis_off()
        # Pixel by pixel.
        axis.imshow(mosaic(cells[None, :, index], GAP, 255), interpolation='nearest', aspect='auto')
        write(x + wide / 2, y - 0.03, name, ha='center', va='top', fontsize=6, color='#555555')
    for place in range(across):
        for column, label in enumerate(pictures):
            x = BETWEEN + place * (wide + BETWEEN) + (column * (width + GAP) + width / 2) / DPI
            write(x, size[1] - above + 0.03, label, ha='center', va='bottom', fontsize=8)
    if note:
        write(BETWEEN, 0.05, note, va='bottom', fontsize=7, color='#b00020')
    return figure
