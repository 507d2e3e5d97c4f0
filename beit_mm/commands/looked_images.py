"""Images that a look is at, as the network sees them and as people do."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..component import ConfigError
from ..datasets.decoding import read_pixels
from ..datasets.reading.broken_image import BrokenImage
from ..engine.starting.stages import minutes
from ..visualization import as_photo
from .changed_images import Changes
from .features import Extractor, extractor
from .how_to_read import HowToRead
from .predicting import NONE_DECODED, files_of

# Seconds between two lines that say how far it is.
EVERY = 10.0


def counted(images: int) -> str:
    """How many images, in words.

    >>> counted(1), counted(4000)
    ('1 image', '4,000 images')
    """
    return f'{images:,} image{"" if images == 1 else "s"}'


class Sees(Protocol):
    """What images are read for."""

    @property
    def how(self) -> HowToRead:
        """They are read."""
        ...

    def fitted(self, image: np.ndarray, /) -> np.ndarray:
        """An image (H, W, bands) as it is shown, (S, S, bands) in [0, 255]."""
        ...

    def normalised(self, images: Sequence[np.ndarray], /) -> Tensor:
        """Such images as the network takes them, on its device."""
        ...


class HowFar:
    """Says on stderr how many images are left, where they take long.

    Args:
        total: Images.
    """

    def __init__(self, total: int) -> None:
        self.total, self.count = total, 0
        self.begin = self.last = time.monotonic()

    def done(self, count: int) -> None:
        """Count images that are done."""
        self.count += count
        now = time.monotonic()
        if now - self.last > EVERY and self.count < self.total:
            left = minutes((self.total - self.count) * (now - self.begin) / self.count)
            print(f'{self.count} of {self.total} images, {left} left', file=sys.stderr)
            self.last = now


class LookedAt(NamedTuple):
    """Some images.

    Attributes:
        names: As the user gave them; of a folder's, paths below it.
        files: Their paths.
        batch: (B, C, S, S) float32, normalised, on the device of the network.
        photos: (B, S, S, 3) uint8, the same images to look at, of another size where the network
            sees less than is shown.
    """

    names: list[str]
    files: list[Path]
    batch: Tensor
    photos: np.ndarray


def backbone_for(
    weights: str | Path, images: Sequence[str | Path], size: int | None = None
) -> tuple[Extractor, dict[Path, Path]]:
    """A backbone that reads some images as they are to be read, and their files.

    Args:
        weights: What ``beit_mm.load`` takes, or the folder of a command.
        images: Files, or folders of them.
        size: Height and width of what the network sees; without, that of the weights.

    Returns:
        The backbone; and file -> its path below the folder it was found in.

    Raises:
        ConfigError: If there are no images, or the size is no multiple of the patch.
    """
    files = files_of(images)
    return extractor(weights, size).for_images(Path(), [str(file) for file in files]), files


def look_at(
    take: Sees, files: Mapping[Path, Path], batch_size: int = 32, most: int | None = None
) -> Iterator[LookedAt]:
    """Images, a batch at a time; those that cannot be read are told and left out.

    Where it takes long, stderr says how far it is.

    Args:
        take: The network.
        files: File -> what to call it.
        batch_size: Images at once.
        most: Images in all that are looked at.

    Raises:
        ConfigError: At the end, if none could be read.
    """
    changes, left, seen = Changes(), list(files), 0
    how_far = HowFar(min(len(files), most or len(files)))
    while left and (most is None or seen < most):
        kept, pixels = list[Path](), []
        while left and len(kept) < min(batch_size, (most or len(files)) - seen):
            file = left.pop(0)
            try:
                with changes.of_image():
                    pixels.append(take.fitted(read_pixels(file, take.how.reading)))
                kept.append(file)
            except (BrokenImage, OSError) as error:
                print(f'{file}: left out, {getattr(error, "reason", error)}', file=sys.stderr)
        if not kept:
            break
        seen += len(kept)
        shown = [as_photo(image, bands=take.how.reading.names) for image in pixels]
        names = [str(files[file]) for file in kept]
        yield LookedAt(names, kept, take.normalised(pixels), np.stack(shown))
        how_far.done(len(kept))
    changes.tell()
    if not seen:
        raise ConfigError(NONE_DECODED.format(len(files)))


def look_at_all(take: Sees, files: Mapping[Path, Path], most: int) -> LookedAt:
    """The first of some images in one batch, see :func:`look_at`."""
    parts = list(look_at(take, files, most=most))
    return LookedAt(
        [name for part in parts for name in part.names],
        [file for part in parts for file in part.files],
        torch.cat([part.batch for part in parts]),
        np.concatenate([part.photos for part in parts]),
    )
