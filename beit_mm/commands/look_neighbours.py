"""``beit-mm look neighbours``: which images a network takes for alike."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..component import ConfigError
from ..datasets.reading.measuring import spread
from ..visualization import most_alike, panel_of_neighbours
from .features import Extractor
from .looked_images import backbone_for
from .looked_vectors import Vectors, class_of, small_photo, vectors_of
from .picture_files import picture_path, write_picture
from .predicting import files_of

# Images that neighbours are shown of, pixels of an edge, letters below a picture.
QUERIES, EDGE, LETTERS = 8, 160, 15


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
    if among is None:
        queries, asked = files, found.chosen(spread(range(len(found.files)), QUERIES))
    else:
        queries = files_of(images)
        asked = vectors_of(take, {file: queries[file] for file in spread([*queries], QUERIES)})
    if len(asked.files) == QUERIES < len(queries):
        print(f'{QUERIES} of {len(queries)} images are shown', file=sys.stderr)
    nearest, cosines = _nearest(asked, found, count)
    labels = [class_of(files[file]) or '' for file in found.files]
    known = {*labels} - {''}
    if len(known) < 2:
        labels, known = [''] * len(labels), set()
    asked_labels = [
        label if (label := class_of(queries[file]) or file.parent.name) in known else ''
        for file in asked.files
    ]
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
    rows = [
        [
            Shown(file, label, None),
            *(
                Shown(found.files[place], labels[place], cosine)
                for place, cosine in zip(places, alike, strict=True)
            ),
        ]
        for file, label, places, alike in zip(
            asked.files, asked_labels, nearest.tolist(), cosines.tolist(), strict=True
        )
    ]
    return write_picture(_draw(take, rows), path, arrays)


def _nearest(asked: Vectors, found: Vectors, count: int) -> tuple[Tensor, Tensor]:
    """Places (Q, K) of those most like each image, which is none of its own, and their cosines."""
    place_of = {file.resolve(): place for place, file in enumerate(found.files)}
    itself = torch.tensor([place_of.get(file.resolve(), -1) for file in asked.files])
    most = len(found.files) - int(itself.max() >= 0)
    if not most:
        raise ConfigError(f'{found.files[0]} is the only image; there must be two to compare')
    if count > most:
        print(f'{most} others are there to show, in place of {count}', file=sys.stderr)
        count = most
    return most_alike(
        torch.from_numpy(asked.features), torch.from_numpy(found.features), count, itself
    )


class Shown(NamedTuple):
    """An image of the panel.

    Attributes:
        file: It.
        label: Its class, '' where not known.
        cosine: Of its features and the query's; None of the query.
    """

    file: Path
    label: str
    cosine: float | None

    @property
    def caption(self) -> str:
        """Class, and below it name and cosine."""
        alike = '' if self.cosine is None else f' {self.cosine:.3f}'
        named = _short(self.file.stem, LETTERS - len(alike)) + alike
        return f'{_short(self.label, LETTERS)}\n{named}' if self.label else named

    def has_class_of(self, query: 'Shown') -> bool | None:
        """None of the query itself, and where one of the classes is not known."""
        if self.cosine is None or not self.label or not query.label:
            return None
        return self.label == query.label


def _draw(take: Extractor, rows: Sequence[Sequence[Shown]]) -> Figure:
    return panel_of_neighbours(
        [[small_photo(take, one.file, EDGE) for one in row] for row in rows],
        [[one.caption for one in row] for row in rows],
        [[one.has_class_of(row[0]) for one in row] for row in rows],
    )


def _short(text: str, letters: int) -> str:
    """The end tells more than the beginning, as beside other pictures."""
    return text if len(text) <= letters else f'…{text[1 - letters :]}'
