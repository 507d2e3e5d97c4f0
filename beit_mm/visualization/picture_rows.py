"""Images side by side in rows, with a label before each row: a picture that is drawn fast."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from .mosaics import mosaic
from .shown_bands import Shown, in_three_bands

# Of the picture, so that a pixel of a small image is a whole number of its pixels.
DPI = 150
# Pixels: smaller images are shown larger, larger ones smaller.
LEAST, MOST = 128, 160
GAP = 4
# Inches: of the labels; of a line of titles and note, and of a letter of the note.
LABELS, LINE, LETTER = 1.15, 0.14, 0.053


def draw_picture_rows(
    rows: Mapping[str, Tensor],
    shown: Shown = None,
    bands: Sequence[str] | None = None,
    titles: Sequence[str] = (),
    note: str = '',
) -> Figure:
    """A row for each kind of picture, a column for each image.

    Args:
        rows: Label -> (B, C, H, W), clipped to [0, 1]; rows may differ in size.
        shown, bands: Which bands are red, green and blue, and the names of all; see
            :func:`beit_mm.visualization.shown_places`.
        titles: Of the columns.
        note: Below.

    Returns:
        To be saved at its own dpi.
    """
    first = next(iter(rows.values()))
    count, cell = len(first), _shown_size(*first.shape[2:])
    tall, wide = (
        (number * (size + GAP) - GAP) / DPI
        for number, size in zip((len(rows), count), cell, strict=True)
    )
    lines = max((title.count('\n') + 1 for title in titles), default=0)
    above = LINE * lines + 0.08
    below = LINE * (note.count('\n') + 1) + 0.05 if note else 0.05
    across = max(wide, LETTER * max(map(len, note.split('\n'))))
    figure = Figure(figsize=(LABELS + across + 0.05, tall + above + below), dpi=DPI)
    size = figure.get_size_inches()
    axis = figure.add_axes((LABELS / size[0], below / size[1], wide / size[0], tall / size[1]))
    axis.set_axis_off()
    panels = np.stack([cells_of(images, shown, bands, cell) for images in rows.values()])
    for row, label in enumerate(rows):
        y = (below + tall - (row * (cell[0] + GAP) + cell[0] / 2) / DPI) / size[1]
        figure.text((LABELS - 0.08) / size[0], y, label, ha='right', va='center', fontsize=8)
    # Pixel by pixel.
    axis.imshow(mosaic(panels, GAP, 255), interpolation='nearest', aspect='auto')
    for column, title in enumerate(titles):
        x = LABELS + (column * (cell[1] + GAP) + cell[1] / 2) / DPI
        y = (below + tall + 0.03) / size[1]
        figure.text(x / size[0], y, title, ha='center', va='bottom', fontsize=7)
    if note:
        figure.text(
            LABELS / size[0], 0.04 / size[1], note, va='bottom', fontsize=7, color='#b00020'
        )
    return figure


def cells_of(
    images: Tensor,
    shown: Shown = None,
    bands: Sequence[str] | None = None,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Images as they are shown in a picture.

    Args:
        images: (B, C, H, W), clipped to [0, 1].
        shown, bands: See :func:`beit_mm.visualization.shown_places`.
        size: Height and width of what comes out; None for what suits images of this size.

    Returns:
        (B, height, width, 3) uint8.
    """
    size = size or _shown_size(*images.shape[2:])
    return np.stack([_in_size(image, size) for image in in_three_bands(images, shown, bands)])


def _shown_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of an image in the picture."""
    longer = max(height, width)
    times = max(1, LEAST // longer) if longer <= MOST else MOST / longer
    return max(1, round(height * times)), max(1, round(width * times))


def _in_size(image: Tensor, size: tuple[int, int]) -> np.ndarray:
    """(3, H, W) in [0, 1] -> (*size, 3) uint8; a pixel of a small image stays a square."""
    pixels = (image.permute(1, 2, 0) * 255).round().byte().cpu().numpy()
    smaller = size[0] < image.shape[1] or size[1] < image.shape[2]
    way = Image.Resampling.LANCZOS if smaller else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(pixels).resize(size[::-1], way))
