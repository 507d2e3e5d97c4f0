"""Files on the disk or in a store: ``s3://``, ``gs://``, ``http://`` and what else fsspec knows.

A store that fails for a while is asked again, after pauses that grow. What has been read is kept on
the disk, see :mod:`beit_mm.datasets.sources.store_cache`.
"""

import os
import random
import time
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple, TypeVar

from .folder_search import is_hidden
from .store_cache import StoreCache, cache_from_environment

# How often a store is asked for one thing: with the pauses below, for about a minute.
TRIES = 8
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
# So much of a large file is asked for at once: what is lost when a connection breaks.
PART = 16 << 20
# Of HTTP: answers of the kind 4xx that may be others later.
FOR_A_WHILE = frozenset((408, 425, 429))
# What no second try will change.
FOR_GOOD = (
    FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, NotImplementedError,
    ImportError, TypeError, ValueError,
)  # fmt: skip
# Where the errors of fsspec's web servers come from.
AIOHTTP = 'aiohttp.client_exceptions'
# Stores that are not worth a copy on the disk.
AT_HAND = frozenset(('file', 'local', 'memory'))
# Jitter draws from the system: the generators that training draws from do not move.
chance = random.SystemRandom()
T = TypeVar('T')


class StoreError(OSError):
    """A file of a store that cannot be read; says in a line which, how often it was tried, why."""


class Damaged(Exception):
    """What came has another length or checksum than what was asked for; it is asked for again."""


class Stored(NamedTuple):
    """A file in a folder of a disk or store."""

    url: str
    size: int
    # Another one when the file has changed: its time, or what the store calls its version.
    version: str


def is_url(path: str) -> bool:
    """Whether a path is of a store and not of the disk."""
    return '://' in path


def join(folder: str, name: str) -> str:
    """A path below a folder of a disk or store; a whole path or an address stays as it is."""
    if is_url(name):
        return name
    if is_url(folder) and not os.path.isabs(name):
        return f'{folder.rstrip("/")}/{name}'
    return os.path.join(folder, name)


def as_source(path: str) -> str | bytes:
    """What opens an image: its path on the disk, of which parts can be read, else its bytes.

    Raises:
        FileNotFoundError: If there is no such file in a store.
        StoreError: If a store fails.
    """
    return read_bytes(path) if is_url(path) else path


def read_bytes(path: str | os.PathLike, keep: bool = True) -> bytes:
    """Read a file of the disk or of a store, which is kept on the disk then.

    Args:
        path: A path, or an address with '://' whose scheme fsspec or mmengine knows.
        keep: Whether what a store sends is kept; False for what may change there.

    Raises:
        FileNotFoundError: If there is no such file.
        StoreError: If the store fails, again and again.
    """
    path = os.fspath(path)
    if not is_url(path):
        with open(path, 'rb') as file:
            return file.read()
    if not _is_of_fsspec(path):
        return _by_mmengine(path)

    def read() -> bytes:
        fs, inside = _file_system(path)
        return fs.cat_file(inside)

    cache = _cache_of(path) if keep else None
    if cache is None:
        return tried(path, read)
    with cache.find(path) as kept:
        if kept is not None:
            return kept.read()
    data = tried(path, read)
    cache.put(path, data)
    return data


def read_range(
    path: str | os.PathLike, offset: int, length: int, crc32: int | None = None
) -> bytes:
    """Read a part of a file of the disk or of a store; it is not kept.

    Args:
        path: See :func:`read_bytes`.
        offset: Of the first byte.
        length: In bytes.
        crc32: Checksum of the part, if that is known.

    Raises:
        FileNotFoundError: If there is no such file.
        StoreError: If the file ends before the part, or the store fails or sends something else.
    """
    path = os.fspath(path)
    if not is_url(path):
        with open(path, 'rb', buffering=0) as file:
            return read_part(file, path, offset, length, crc32)
    if not _is_of_fsspec(path):
        return _by_mmengine(path)[offset : offset + length]

    def read() -> bytes:
        fs, inside = _file_system(path)
        data = fs.cat_file(inside, start=offset, end=offset + length)
        # A server that knows nothing of ranges sends the whole file.
        if len(data) >= offset + length and len(data) > length:
            data = data[offset : offset + length]
        return _checked(data, length, crc32)

    return tried(path, read)


def read_part(
    file: BinaryIO, name: str, offset: int, length: int, crc32: int | None = None
) -> bytes:
    """Read a part of an open file of the disk, without moving in it.

    Raises:
        StoreError: If it ends before, or the checksum is another.
    """
    data = os.pread(file.fileno(), length, offset)
    try:
        return _checked(data, length, crc32)
    except Damaged as error:
        raise StoreError(f'{name}, {length} bytes from {offset}: {error}') from None


def open_whole(url: str, size: int, version: str, sha256: str = '') -> BinaryIO | None:
    """Open a large file of a store as a file of the disk, which is fetched if it is not there.

    Processes that ask for the same file wait for the one that fetches it.

    Args:
        url: Of a store.
        size: Of the file.
        version: Tells it from another under the same name.
        sha256: Its checksum, if that is known.

    Returns:
        The file, open for reading; None if there is no cache, or no room in it.

    Raises:
        FileNotFoundError: If there is no such file.
        StoreError: If the store fails, or sends something else.
    """
    cache = _cache_of(url)
    if cache is None:
        return None

    def fetch(target: BinaryIO) -> None:
        target.seek(0)
        for begin in range(0, size, PART):
            target.write(read_range(url, begin, min(PART, size - begin)))
        target.flush()
        if sha256 and (found := digest_of(target)) != sha256:
            raise Damaged(f'its checksum is {found[:8]}..., it must be {sha256[:8]}...')

    key = f'{url} {size} {version}'
    return tried(url, lambda: cache.open(key, size, fetch))


def list_files(folder: str, endings: tuple[str, ...]) -> list[Stored]:
    """Files in a folder of a disk or store whose names end so, in order; no hidden ones.

    Raises:
        FileNotFoundError: If there is no such folder.
        StoreError: If the store fails.
    """
    if not is_url(folder):
        with os.scandir(folder) as entries:
            kept = [e for e in entries if _counts(e.name, endings) and os.path.isfile(e.path)]
        stats = [(e.path, e.stat()) for e in kept]
        return sorted(Stored(p, s.st_size, str(s.st_mtime_ns)) for p, s in stats)

    def read() -> list[dict]:
        fs, inside = _file_system(folder)
        # fsspec remembers what was there when it looked before.
        fs.invalidate_cache()
        return fs.ls(inside, detail=True)

    fs, _ = _file_system(folder)
    found = [e for e in tried(folder, read) if _counts(e['name'], endings)]
    stored = [_stored(fs.unstrip_protocol(entry['name']), entry) for entry in found]
    # A web server's list has no sizes.
    return sorted(file if file.size else look_up(file.url) for file in stored)


def _counts(path: str, endings: tuple[str, ...]) -> bool:
    return path.endswith(endings) and not is_hidden(os.path.basename(path))


def look_up(path: str) -> Stored:
    """Size and version of a file of the disk or of a store.

    Raises:
        FileNotFoundError: If there is no such file.
        StoreError: If the store fails.
    """
    if not is_url(path):
        status = os.stat(path)
        return Stored(path, status.st_size, str(status.st_mtime_ns))

    def read() -> dict:
        fs, inside = _file_system(path)
        return fs.info(inside)

    return _stored(path, tried(path, read))


def exists(path: str) -> bool:
    """Whether there is such a file on the disk or in a store.

    Raises:
        StoreError: If the store fails.
    """
    try:
        look_up(path)
    except FileNotFoundError:
        return False
    return True


def digest_of(file: BinaryIO) -> str:
    """SHA-256 of an open file, in hexadecimal digits."""
    import hashlib

    digest = hashlib.sha256()
    file.seek(0)
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _stored(url: str, entry: dict) -> Stored:
    version = entry.get('ETag') or entry.get('etag') or entry.get('LastModified') or ''
    return Stored(url, int(entry.get('size') or 0), str(version))


def _checked(data: bytes, length: int, crc32: int | None) -> bytes:
    if len(data) != length:
        raise Damaged(f'{len(data)} bytes came in place of {length}')
    if crc32 is not None and zlib.crc32(data) != crc32:
        raise Damaged('its checksum is another than that in the index')
    return data


def _is_of_fsspec(url: str) -> bool:
    from fsspec.registry import available_protocols

    return url.partition('://')[0].rpartition('::')[2] in available_protocols()


def _by_mmengine(url: str) -> bytes:
    from mmengine import fileio

    return fileio.get(url)


def _file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system of an address, and its path there.

    Asked for each time: fsspec keeps one for each process, also for those that were forked.
    """
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise ImportError(
            f"{url} takes a package that is not there: pip install 'beit-mm[stores]' ({error})"
        ) from error


def _cache_of(url: str) -> StoreCache | None:
    return None if url.partition('://')[0] in AT_HAND else cache_from_environment()


def _passes(error: BaseException | None) -> bool:
    """Whether a store may do later what it does not do now."""
    # fsspec says of a web server that there is no file whenever a look does not succeed.
    if isinstance(error, FileNotFoundError) and type(error.__cause__).__module__ == AIOHTTP:
        return _passes(error.__cause__)
    if isinstance(error, FOR_GOOD):
        return False
    status = getattr(error, 'status', None)
    return not (isinstance(status, int) and 400 <= status < 500 and status not in FOR_A_WHILE)


def tried(url: str, read: Callable[[], T]) -> T:
    """What a function returns that asks a store, in one of so many tries.

    Args:
        url: What is asked for, for messages.
        read: Asks; it may be called again whatever it raises.

    Raises:
        FileNotFoundError: If there is no such file.
        StoreError: If it fails for good, or again and again.
    """
    tries = int(os.environ.get('BEIT_MM_STORE_TRIES', TRIES))
    for number in range(1, tries + 1):
        try:
            return read()
        except (StoreError, ImportError):
            raise
        except Exception as error:
            passes = _passes(error)
            if isinstance(error, FileNotFoundError) and not passes:
                raise FileNotFoundError(f'{url}: there is no such file') from error
            if number == tries or not passes:
                said = ' '.join(f'{error}'.split()) or type(error).__name__
                times = 'once' if number == 1 else f'{number} times'
                raise StoreError(f'{url} cannot be read, tried {times}: {said}') from error
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (number - 1))
        time.sleep(pause * chance.uniform(0.5, 1))
    raise StoreError(f'{url}: BEIT_MM_STORE_TRIES is {tries}; it must be 1 at least')
