"""All photos of a folder looked at: which cannot be decoded, and what is in the others."""

import functools
import multiprocessing
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from .reading.broken_image import BrokenImage
from .reading.measuring import SAMPLED, Looked, look_at

# Pixels that are kept of all images together.
MOST_SAMPLED = 2**22
LEAST_OF_ONE = 16
# Photos that a process gets at once, and pieces of so many that wait for each.
PIECE, WAITING = 16, 4
ENDED = 'its reader ended the process, by a fault of its own or for lack of memory'

Found = tuple[str, Looked | str]


def check_photos(
    folder: Path, names: Sequence[str], workers: int | None, no_data: float | None = None
) -> Iterator[Found]:
    """Decode photos, in several processes.

    Args:
        folder: Of the photos.
        names: Their paths inside it.
        workers: Number of processes; None for one a core.
        no_data: The value of pixels without a measurement.

    Returns:
        Name, and what is in the photo, with all of its bands, or why it cannot be decoded; in
        order. A photo that ends the process that reads it is one that cannot be.
    """
    sampled = min(SAMPLED, max(LEAST_OF_ONE, MOST_SAMPLED // max(1, len(names))))
    look = functools.partial(_look_at_all, functools.partial(_look, folder, no_data, sampled))
    workers = workers or os.cpu_count() or 1
    processes = Processes(workers)
    # They are started now, and not when the first result is asked for: of a process that has
    # threads by then, as of a bar that shows progress, they would inherit locks that nobody opens.
    processes.submit(int)
    return _checked(look, names, workers, processes)


def _checked(
    look: Callable, names: Sequence[str], workers: int, processes: 'Processes'
) -> Iterator[Found]:
    pieces: deque[tuple[Sequence[str], Future]] = deque()
    try:
        for begin in range(0, len(names), PIECE):
            piece = names[begin : begin + PIECE]
            pieces.append((piece, processes.submit(look, piece)))
            if len(pieces) > WAITING * workers:
                yield from _found(look, *pieces.popleft())
        while pieces:
            yield from _found(look, *pieces.popleft())
    finally:
        processes.end()


class Processes:
    """Processes that are started anew when one of them has died.

    Args:
        workers: How many.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.pool = self._start()

    def _start(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context()
        return ProcessPoolExecutor(self.workers, context, warnings.simplefilter, ('ignore',))

    def submit(self, function: Callable, *given: Any) -> Future:
        """Have one of them do it."""
        try:
            return self.pool.submit(function, *given)
        except BrokenProcessPool:
            self.end()
            self.pool = self._start()
            return self.pool.submit(function, *given)

    def end(self) -> None:
        """Let them go; nothing that waits is begun."""
        self.pool.shutdown(cancel_futures=True)


def _found(look: Callable, piece: Sequence[str], future: Future) -> Iterator[Found]:
    """What is in the photos of a piece; one by one if a process has died while they waited."""
    try:
        yield from future.result()
        return
    except BrokenProcessPool:
        pass
    for name in piece:
        # Alone, so that it is this photo by which the process dies if it does.
        alone = Processes(1)
        try:
            yield from alone.submit(look, [name]).result()
        except BrokenProcessPool:
            yield name, ENDED
        finally:
            alone.end()


def _look_at_all(look: Callable[[str], Found], names: Sequence[str]) -> list[Found]:
    return [look(name) for name in names]


def _look(folder: Path, no_data: float | None, sampled: int, name: str) -> Found:
    try:
        return name, look_at(folder / name, 0, no_data, sampled)
    except BrokenImage as error:
        return name, ' '.join(error.reason.split())
    except OSError as error:
        return name, f'{error.strerror}'
