"""``beit-mm look neighbours``: which images a network takes for alike."""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..component import ConfigError
from ..datasets.reading.measuring import spread
from ..visualization import most_alike, panel_of_neighbours
from .looked_images import backbone_for
from .looked_vectors import class_of, small_photo, vectors_of
from .picture_files import picture_path, write_picture
from .predicting import files_of

# Images that neighbours are shown of, pixels of an edge, letters below a picture.
QUERIES, EDGE, LETTERS = 8, 160, 17


def look_neighbours(
    weights: str | Path,
    images: Sequence[str | Path],
    size: int | None = None,
    among: str | Path | None = None,
    count: int = 7,
    out: str | Path | None = None,
) -> Path:
    """Draw the images whose features are most like those of others, by cosine.

    Features are the mean of the patches' last hidden states. Of more than eight images eight are
    shown, at even distances.

    Args:
        weights: What ``beit_mm.load`` takes, or the folder of a command.
        images: Files, or folders of them.
        size: Height and width of what the network sees; without, that of the weights.
        among: Images that are compared with these; by default the same ones. An image is no
            neighbour of itself. Where they lie in class folders, frames tell which neighbours are
            of an image's class, which the folder that it lies in names.
        count: How many neighbours.
        out: The picture, .png; by default ``work_dirs/look/neighbours.png``. Beside it ``.npz``:
            ``files`` (N,), ``features`` (N, C) and ``labels`` (N,), '' where not known, of what is
            compared with; the same of the Q images shown as ``query_files``, ``query_features``
            and ``query_labels``; ``nearest`` (Q, count), rows of the former, and ``cosines``.

    Returns:
        The picture.

    Raises:
        ConfigError: If there is nothing to compare.
    """
    path = picture_path(out, 'neighbours')
    take, files = backbone_for(weights, images if among is None else [among], size)
    found = vectors_of(take, files)
    queries = files
    if among is None:
        places = spread(range(len(found.files)), QUERIES)
        asked = found.chosen(places)
    else:
        queries = files_of(images)
        asked = vectors_of(take, {file: queries[file] for file in spread([*queries], QUERIES)})
    if len(asked.files) == QUERIES < len(queries):
        print(f'{QUERIES} of {len(queries)} images are shown', file=sys.stderr)

    rows = {file.resolve(): row for row, file in enumerate(found.files)}
    itself = torch.tensor([rows.get(file.resolve(), -1) for file in asked.files])
    count = min(count, len(rows) - int(itself.max() >= 0))
    if not count:
        raise ConfigError(f'{found.files[0]} is the only image; there must be two to compare')
    nearest, cosines = most_alike(
        torch.from_numpy(asked.features), torch.from_numpy(found.features), count, itself
    )
    labels = [class_of(files[file]) or '' for file in found.files]
    known = {label for label in labels if label}
    if len(known) < 2:
        labels, known = [''] * len(labels), set()
    asked_labels = [
        label if (label := class_of(queries[file]) or file.parent.name) in known else ''
        for file in asked.files
    ]
    shown = [
        [asked.files[row], *(found.files[place] for place in places)]
        for row, places in enumerate(nearest.tolist())
    ]
    classes = [
        [asked_labels[row], *(labels[place] for place in places)]
        for row, places in enumerate(nearest.tolist())
    ]
    figure = panel_of_neighbours(
        [[small_photo(take, file, EDGE) for file in row] for row in shown],
        [
            [_caption(*each) for each in zip(row, names, [None, *alike], strict=True)]
            for row, names, alike in zip(shown, classes, cosines.tolist(), strict=True)
        ],
        [
            [None, *((other == own) if own and other else None for other in others)]
            for own, *others in classes
        ],
    )
    arrays = dict(
        files=np.array([str(file) for file in found.files]),
        features=found.features,
        labels=np.array(labels),
        query_files=np.array([str(file) for file in asked.files]),
        query_features=asked.features,
        query_labels=np.array(asked_labels),
        nearest=nearest.numpy(),
        cosines=cosines.numpy(),
    )
    return write_picture(figure, path, arrays)


def _caption(file: Path, label: str, cosine: float | None) -> str:
    """Class, and below it name and cosine."""
    alike = '' if cosine is None else f' {cosine:.3f}'
    named = _short(file.stem, LETTERS - len(alike)) + alike
    return f'{_short(label, LETTERS)}\n{named}' if label else named


def _short(text: str, letters: int) -> str:
    return text if len(text) <= letters else f'{text[: letters - 1]}…'
