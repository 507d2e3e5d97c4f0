"""Photos of a folder that cannot be decoded, found before training."""

import functools
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

from .decoding import decode_image
from .reading.broken_image import BrokenImage


def check_photos(
    folder: Path, names: list[str], workers: int | None
) -> Iterator[tuple[str, str | None]]:
    """Decode photos, in several processes.

    Args:
        folder: Of the photos.
        names: Their paths inside it.
        workers: Number of processes; None for one a core.

    Yields:
        Name, and why the photo cannot be decoded or None; in order.
    """
    with multiprocessing.Pool(workers) as pool:
        yield from pool.imap(functools.partial(_reason, folder), names, chunksize=16)


def _reason(folder: Path, name: str) -> tuple[str, str | None]:
    try:
        decode_image(folder / name)
    except BrokenImage as error:
        return name, ' '.join(error.reason.split())
    except OSError as error:
        return name, f'{error.strerror}'
    return name, None
