"""Copies on the disk of what was read from a store, in bounded space, for many processes.

A file is there as a whole or not at all, whenever a process is killed. While it is being written it
has another name and already its full size, which counts, and is locked: the lock of a process that
was killed is free, and what it has left is removed when room is made. fsspec's own caches grow
without bounds, which is why this is here.
"""

import contextlib
import errno
import fcntl
import functools
import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock
from mmengine.logging import print_log

from ...checkpoints.writing import partial_path, write_whole

# Of the disk, unless BEIT_MM_CACHE_SIZE says otherwise.
DEFAULT_SIZE = '20GB'
UNITS = dict(zip(('', 'K', 'M', 'G', 'T'), (1000**k for k in range(5)), strict=True))
# Where room is made, some more than asked for: finding the oldest takes a look at all files.
FILLED_TO = 0.9


def parse_size(text: str) -> int:
    """Bytes of a size such as '20GB', '500M' or '0'.

    >>> parse_size('1.5 GB')
    1500000000
    """
    found = re.fullmatch(r'([\d.]+)\s*([KMGT]?)(I?B)?', text.strip().upper())
    if not found:
        raise ValueError(f'BEIT_MM_CACHE_SIZE is {text!r}; it must be a size such as 20GB, or 0')
    return int(float(found[1]) * UNITS[found[2]])


def cache_from_environment() -> 'StoreCache | None':
    """The cache that BEIT_MM_CACHE and BEIT_MM_CACHE_SIZE say; None for size 0.

    Raises:
        ValueError: If the size is none.
    """
    size = os.environ.get('BEIT_MM_CACHE_SIZE') or DEFAULT_SIZE
    return _cache(cache_folder() / 'stores', size)


def cache_folder() -> Path:
    """Where what can be had again is kept: BEIT_MM_CACHE, or ``beit_mm`` where programs do so."""
    base = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return Path(os.environ.get('BEIT_MM_CACHE') or os.path.join(base, 'beit_mm'))


@functools.cache
def _cache(folder: Path, size: str) -> 'StoreCache | None':
    most = parse_size(size)
    try:
        return StoreCache(folder, most) if most else None
    except OSError:
        tell_unwritable(folder)
        return None


@functools.cache
def tell_unwritable(folder: Path) -> None:
    """Say once that nothing can be kept in a folder of the cache."""
    print_log(
        f'{folder} cannot be written: what would be kept there is read anew each time; '
        'BEIT_MM_CACHE names another folder',
        'current',
        logging.WARNING,
    )


class StoreCache:
    """A folder of copies, of which those go first that nobody has read for longest.

    Args:
        folder: Of the copies; it is made.
        most: Bytes that all of them may have together, those included that are being written.
    """

    def __init__(self, folder: str | Path, most: int) -> None:
        self.folder, self.most = Path(folder), most
        self.folder.mkdir(parents=True, exist_ok=True)

    def open(self, key: str, size: int, fetch: Callable[[BinaryIO], None]) -> BinaryIO | None:
        """Open a copy for reading, fetched if it is not there.

        Args:
            key: What it is a copy of.
            size: Of it in bytes.
            fetch: Writes it into an open file; other processes that ask for it wait meanwhile.

        Returns:
            The file; None if there is no room for it.
        """
        while True:
            with self.find(key, keep_open=True) as file:
                if file is not None:
                    return file
            if not self._fill(self._path(key), size, fetch):
                return None

    @contextmanager
    def find(self, key: str, keep_open: bool = False) -> Iterator[BinaryIO | None]:
        """The copy if it is there, which then counts as read just now."""
        path = self._path(key)
        try:
            file = path.open('rb')
        except OSError:
            yield None
            return
        # Another process may remove it, or the disk be read-only; what is open can be read on.
        with contextlib.suppress(OSError):
            os.utime(path)
        if keep_open:
            yield file
            return
        with file:
            yield file

    def put(self, key: str, content: bytes) -> None:
        """Keep a copy, if there is room."""

        def fetch(file: BinaryIO) -> None:
            file.write(content)

        self._fill(self._path(key), len(content), fetch)

    def _path(self, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / name[:2] / name[2:]

    def _fill(self, path: Path, size: int, fetch: Callable[[BinaryIO], None]) -> bool:
        """Write a copy; whether there is one now."""
        partial = partial_path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            opened = partial.open('ab+')
        except OSError:
            tell_unwritable(self.folder)
            return False
        with opened as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # While this process waited, another may have finished the copy, or removed the name.
            if not _is_file_of(partial, file):
                return True
            try:
                if not path.exists() and self._reserve(file, size):
                    with partial.open('rb+') as target:
                        fetch(target)
                        target.flush()
                        os.fsync(target.fileno())
                    os.replace(partial, path)
                    return True
            except BaseException as error:
                partial.unlink()
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    return False
                raise
            partial.unlink()
            return path.exists()

    def _reserve(self, file: BinaryIO, size: int) -> bool:
        """Give an open file its size, if all files together may have so much."""
        with FileLock(self.folder / 'total.lock'):
            total = self._total()
            if total is None or total + size > self.most:
                total = self._make_room(size)
            fits = total + size <= self.most
            if fits:
                os.ftruncate(file.fileno(), size)
                total += size
            write_whole(self.folder / 'total', str(total).encode())
        return fits

    def _total(self) -> int | None:
        """Bytes of all files, or more where a process was killed; None if nobody has counted."""
        try:
            return int((self.folder / 'total').read_text())
        except (FileNotFoundError, ValueError):
            return None

    def _make_room(self, size: int) -> int:
        """Remove the copies that were read longest ago; return the bytes of those left."""
        for left in self.folder.glob('total.*.tmp'):
            left.unlink()
        files, total = [], 0
        for folder in self.folder.iterdir():
            for path in folder.iterdir() if folder.is_dir() else ():
                with contextlib.suppress(FileNotFoundError):
                    status = path.stat()
                    if path.suffix == '.partial':
                        total += 0 if _removed_if_orphan(path) else status.st_size
                    else:
                        files.append((status.st_mtime_ns, status.st_size, path))
                        total += status.st_size
        for _, freed, path in sorted(files):
            if total + size <= FILLED_TO * self.most:
                break
            path.unlink(missing_ok=True)
            total -= freed
        return total


def _is_file_of(path: Path, file: BinaryIO) -> bool:
    """Whether a path is still that of an open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _removed_if_orphan(partial: Path) -> bool:
    """Remove what a process has left that was killed while it wrote."""
    with partial.open('rb') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        partial.unlink(missing_ok=True)
    return True
