"""What a segmentor says of photos, beside the truth."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch

from .shown_bands import Shown, as_photo

# Classes in the legend, of more than these only those that are seen; inches of its columns without
# the names, and of a letter.
MOST_NAMED, COLUMN, LETTER = 60, 0.5, 0.065
# Pixels without a label show what is below a picture: no class can have it for its colour.
UNLABELLED: dict[str, Any] = dict(facecolor='white', edgecolor='0.6', hatch='//////', linewidth=0)
RIGHT, WRONG = (225, 232, 240), (213, 43, 30)
# Of the prediction's colours in an overlay.
OPAQUE = 0.55


def paint_labels(labels: np.ndarray, palette: Sequence[Sequence[int]]) -> np.ndarray:
    """Labels as colours.

    Args:
        labels: (H, W) integers; those without a colour, such as 255 for unlabelled, become
            transparent, so that they are told from a class that is painted black.
        palette: (R, G, B) of each class, 0 to 255.

    Returns:
        (H, W, 4) uint8, RGBA.
    """
    colours = np.zeros((len(palette) + 1, 4), dtype=np.uint8)
    colours[:-1, :3], colours[:-1, 3] = palette, 255
    known = (labels >= 0) & (labels < len(palette))
    return colours[np.where(known, labels, len(palette))]


def paint_errors(truth: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Where a prediction is right and wrong.

    Args:
        truth, prediction: (H, W) integers.
        classes: How many; what is above in the truth is ignored, and becomes transparent.

    Returns:
        (H, W, 4) uint8, RGBA.
    """
    counted = (truth >= 0) & (truth < classes)
    places = np.where(counted, (truth != prediction).astype(np.int64), 2)
    return np.array([(*RIGHT, 255), (*WRONG, 255), (0, 0, 0, 0)], dtype=np.uint8)[places]


def overlay_labels(
    photo: np.ndarray, labels: np.ndarray, palette: Sequence[Sequence[int]]
) -> np.ndarray:
    """A photo with labels as colours that let it through.

    Args:
        photo: (H, W, 3) uint8.
        labels: (H, W) integers; where they have no colour the photo is as it was.
        palette: (R, G, B) of each class, 0 to 255.

    Returns:
        (H, W, 3) uint8.
    """
    painted = paint_labels(labels, palette).astype(np.float32)
    share = OPAQUE * painted[..., 3:] / 255
    return np.rint(share * painted[..., :3] + (1 - share) * photo).astype(np.uint8)


def draw_segmentations(
    photos: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: Sequence[np.ndarray],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    path: str | Path,
    shown: Shown = None,
    bands: Sequence[str] | None = None,
) -> None:
    """Write a panel, a column for each photo, with photo, truth and prediction below each other.

    Args:
        photos: (H, W, C) in [0, 255], uint8 or floating; RGB if C is three.
        truths: (H, W) labels.
        predictions: (H, W) labels.
        classes: Names, for the legend.
        palette: (R, G, B) of each class, 0 to 255.
        path: Where the PNG goes.
        shown, bands: Which bands are red, green and blue, and the names of all; see
            :func:`beit_mm.visualization.shown_places`.
    """
    rows = {
        'photo': [as_photo(photo, shown, bands) for photo in photos],
        'truth': [paint_labels(labels, palette) for labels in truths],
        'prediction': [paint_labels(labels, palette) for labels in predictions],
    }
    height, width = photos[0].shape[:2]
    figure = Figure(
        figsize=(1.5 * len(photos) + 0.8, 1.5 * height / width * 3 + 0.6), layout='constrained'
    )
    draw_rows(figure, rows, labels_in((*truths, *predictions)), classes, palette)
    figure.savefig(path, dpi=100)


def labels_in(pictures: Sequence[np.ndarray]) -> set[int]:
    """Labels that are in any of some (H, W) masks."""
    return {int(label) for labels in pictures for label in np.unique(labels)}


def draw_rows(
    figure: Figure | SubFigure,
    rows: Mapping[str, Sequence[np.ndarray]],
    there: set[int],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    sideways: bool = False,
) -> None:
    """Draw pictures, a column for each photo, and a legend of the classes below.

    Args:
        figure: With constrained layout.
        rows: Label -> as many pictures in each, (H, W, 3) or (H, W, 4) uint8.
        there: Labels in them.
        classes: Names.
        palette: (R, G, B) of each class, 0 to 255.
        sideways: Whether there is a row for each photo instead.
    """
    shape = len(rows), len(next(iter(rows.values())))
    axes = figure.subplots(*(shape[::-1] if sideways else shape), squeeze=False)
    for row, (label, pictures) in zip(axes.T if sideways else axes, rows.items(), strict=True):
        if sideways:
            row[0].set_title(label, fontsize=9)
        else:
            row[0].set_ylabel(label, fontsize=9)
        for axis, picture in zip(row, pictures, strict=True):
            if picture.shape[2] == 4:
                axis.patch.set(**UNLABELLED)
            axis.imshow(picture, interpolation='nearest')
            axis.set(xticks=[], yticks=[])
    handles = [
        Patch(facecolor=tuple(np.divide(colour, 255)), edgecolor='0.6', linewidth=0.5, label=name)
        for index, (name, colour) in enumerate(zip(classes, palette, strict=True))
        if len(classes) <= MOST_NAMED or index in there
    ][:MOST_NAMED]
    if any(not 0 <= label < len(classes) for label in there):
        handles.append(Patch(**UNLABELLED, label='unlabelled'))
    if 'errors' in rows:
        handles += [Patch(facecolor=tuple(np.divide(colour, 255)), label=name)
                    for name, colour in (('right', RIGHT), ('wrong', WRONG))]  # fmt: skip
    longest = max(len(str(handle.get_label())) for handle in handles)
    width = figure.bbox.width / figure.dpi
    fitting = max(1, int(width / (COLUMN + LETTER * longest)))
    figure.legend(handles=handles, loc='outside lower center', fontsize=7, frameon=False,
                  ncols=min(fitting, len(handles)))  # fmt: skip
