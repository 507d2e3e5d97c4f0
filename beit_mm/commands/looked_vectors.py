"""A vector of each image that a look is at."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from ..datasets.decoding import read_pixels
from ..datasets.sources.table_columns import TEST, TRAIN, VAL
from ..visualization import as_photo
from .features import Extractor
from .looked_images import look_at


class Vectors(NamedTuple):
    """Images that could be read.

    Attributes:
        files: Their paths.
        features: (N, C) float32, the mean of each one's last hidden states, of its patches.
    """

    files: list[Path]
    features: np.ndarray

    def chosen(self, places: Sequence[int]) -> 'Vectors':
        """Some of them."""
        return Vectors([self.files[place] for place in places], self.features[list(places)])


@torch.no_grad()
def vectors_of(take: Extractor, files: Mapping[Path, Path]) -> Vectors:
    """Vectors of images, as :func:`beit_mm.commands.embedding.embed` has them.

    Images and hidden states are held a batch at a time; those that cannot be read are told.

    Args:
        take: The backbone.
        files: File -> what to call it.

    Raises:
        ConfigError: If none can be read.
    """
    kept, rows = list[Path](), []
    for seen in look_at(take, files):
        kept += seen.files
        rows.append(take.model(seen.batch)[-1].mean(dim=(2, 3)).float().cpu().numpy())
    return Vectors(kept, np.concatenate(rows))


def class_of(below: Path) -> str | None:
    """The class folder that an image lies in, or None.

    Args:
        below: The image's path below the folder of the class folders, or of ``train`` and ``val``
            with class folders.

    >>> class_of(Path('val', 'cat', 'a.jpg')), class_of(Path('cat', 'new', 'b.jpg'))
    ('cat', 'cat')
    """
    folders = below.parts[:-1]
    if folders and folders[0].lower() in (*TRAIN, *VAL, *TEST):
        folders = folders[1:]
    return folders[0] if folders else None


def small_photo(take: Extractor, file: Path, edge: int) -> np.ndarray:
    """An image as the network sees it, read again to look at: (E, E, 3) uint8, E <= ``edge``."""
    pixels = take.fitted(read_pixels(file, take.how.reading))
    photo = Image.fromarray(as_photo(pixels, bands=take.how.reading.names))
    photo.thumbnail((edge, edge))
    return np.asarray(photo)
