"""All photos of a folder looked at: which cannot be decoded, and what is in the others."""

import functools
import multiprocessing
from collections.abc import Iterator, Sequence
from pathlib import Path

from .reading.broken_image import BrokenImage
from .reading.measuring import SAMPLED, Looked, look_at

# Pixels that are kept of all images together.
MOST_SAMPLED = 2**22
LEAST_OF_ONE = 16


def check_photos(
    folder: Path, names: Sequence[str], workers: int | None, no_data: float | None = None
) -> Iterator[tuple[str, Looked | str]]:
    """Decode photos, in several processes.

    Args:
        folder: Of the photos.
        names: Their paths inside it.
        workers: Number of processes; None for one a core.
        no_data: The value of pixels without a measurement.

    Yields:
        Name, and what is in the photo, with all of its bands, or why it cannot be decoded; in
        order.
    """
    sampled = min(SAMPLED, max(LEAST_OF_ONE, MOST_SAMPLED // max(1, len(names))))
    look = functools.partial(_look, folder, no_data, sampled)
    with multiprocessing.Pool(workers) as pool:
        yield from pool.imap(look, names, chunksize=16)


def _look(folder: Path, no_data: float | None, sampled: int, name: str) -> tuple[str, Looked | str]:
    try:
        return name, look_at(folder / name, 0, no_data, sampled)
    except BrokenImage as error:
        return name, ' '.join(error.reason.split())
    except OSError as error:
        return name, f'{error.strerror}'
