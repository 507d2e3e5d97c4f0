"""Images in a folder: told by their endings, and those without a known one by their first bytes.

What is taken is what :func:`~beit_mm.datasets.reading.opening.open_image` can read in this
installation. An image may be a folder: that of Zarr.
"""

import os
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from .reading.known_formats import (
    FORMAT_OF,
    FORMATS,
    HEAD,
    NO_IMAGES,
    OF_FOLDERS,
    ending_of,
    format_of_bytes,
    readable_formats,
)

# What systems leave in folders; hidden ones begin with a dot.
OF_SYSTEMS = frozenset(('__macosx', 'thumbs.db', 'desktop.ini', '@eadir'))
# Files of an unknown ending that are opened before one is an image; then the ending is no image's.
MOST_OPENED = 1000
# Kinds of files that are told one by one.
MOST_TOLD = 6


class Found(NamedTuple):
    """Images of a folder and of all folders in it; prints as one line.

    Attributes:
        names: Paths inside the folder, in order.
        kinds: Format -> number of its images.
        left_out: Kind -> number of its files: a format that needs another package, or an ending.
    """

    names: list[str]
    kinds: dict[str, int]
    left_out: dict[str, int]

    def __str__(self) -> str:
        told = f'{_number(len(self.names), "image")}{_counts(self.kinds)}'
        if left := sum(self.left_out.values()):
            told += f', {_number(left, "file")} left out{_counts(self.left_out)}'
        needed = [f'{k} takes {FORMATS[k].package}' for k in FORMATS if k in self.left_out]
        return '; '.join([told, *needed])


def _number(count: int, what: str) -> str:
    return f'{count} {what}{"" if count == 1 else "s"}'


def _counts(kinds: Mapping[str, int]) -> str:
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    parts = [f'{count} {kind}' for kind, count in ordered[:MOST_TOLD]]
    if rest := sum(count for _, count in ordered[MOST_TOLD:]):
        parts.append(f'{rest} others')
    return f' ({", ".join(parts)})' if parts else ''


def find_photos(folder: str | Path) -> Found:
    """Find the images of a folder and of all folders in it.

    Hidden files and folders, and what systems leave behind, do not count. Links are followed; a
    folder that is reached in more than one way is searched once, under its own name where that is
    inside.

    Raises:
        OSError: If the folder cannot be read.
    """
    search = _Search()
    names = sorted(search.walk(folder))
    return Found(names, dict(search.kinds), dict(search.left_out))


def has_photo(folder: str | Path) -> bool:
    """Whether there is an image in a folder or in the folders in it; searches no further."""
    return next(_Search().walk(folder), None) is not None


def list_classes(folder: str | Path) -> list[str]:
    """Names of the folders in a folder, in order, without hidden ones and those that are images."""
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.is_dir() and not is_hidden(e.name)]
    return sorted(name for name in names if _folder_format(name) is None)


def find_classes(folder: str | Path) -> dict[str, Found]:
    """Find the images of each class folder.

    Returns:
        Name of the class -> what is in its folder; in order.
    """
    return {name: find_photos(Path(folder, name)) for name in list_classes(folder)}


def join_classes(folder: str | Path, classes: Mapping[str, Found]) -> Found:
    """What :func:`find_classes` has found in all class folders of a folder.

    Names begin with that of the class. Images beside the class folders are left out and counted.
    """
    names = [os.path.join(label, name) for label, found in classes.items() for name in found.names]
    beside = _Search()
    loose = sum(1 for _ in beside.files(str(folder), '', []))
    kinds, left_out = Counter[str](), beside.left_out
    if loose:
        left_out['in no class folder'] = loose
    for found in classes.values():
        kinds.update(found.kinds)
        left_out.update(found.left_out)
    return Found(names, dict(kinds), dict(left_out))


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or of a system's making."""
    return name[0] == '.' or name.lower() in OF_SYSTEMS


class _Search:
    """One search of a folder, with what it has counted so far.

    Memory is that of the names found, and of one folder's files of unknown endings.
    """

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.readable = readable_formats()
        # (device, inode) of folders.
        self.seen: set[tuple[int, int]] = set()
        # Ending -> files opened in vain; None where one was an image.
        self.opened: dict[str, int | None] = {}

    def walk(self, root: str | Path) -> Iterator[str]:
        """Yield paths inside the folder, in no order."""
        folders, links = [''], deque[str]()
        while folders or links:
            # Links last, so that what lies inside is found under its own name.
            inside = folders.pop() if folders else links.popleft()
            path = os.path.join(root, inside)
            try:
                status = os.stat(path)
                if (status.st_dev, status.st_ino) in self.seen:
                    continue
                self.seen.add((status.st_dev, status.st_ino))
                below: list[os.DirEntry] = []
                yield from self.files(path, inside, below)
            except OSError:
                if not inside:
                    raise
                self.left_out['closed folder'] += 1
                continue
            below.sort(key=lambda entry: entry.name, reverse=True)
            folders += [f'{inside}{e.name}{os.sep}' for e in below if not e.is_symlink()]
            links.extend(f'{inside}{e.name}{os.sep}' for e in below[::-1] if e.is_symlink())

    def files(self, path: str, inside: str, below: list[os.DirEntry]) -> Iterator[str]:
        """Yield the images in one folder; append the folders in it to ``below``."""
        unknown = []
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                if is_hidden(name):
                    continue
                try:
                    if entry.is_dir():
                        if (kind := _folder_format(name)) is None:
                            below.append(entry)
                        elif self._count(kind):
                            yield inside + name
                        continue
                    is_file = entry.is_file()
                except OSError:
                    is_file = False
                if not is_file:
                    self.left_out['broken link' if entry.is_symlink() else 'device'] += 1
                elif (kind := FORMAT_OF.get(ending_of(name))) is None or kind in OF_FOLDERS:
                    unknown.append(name)
                elif self._count(kind):
                    yield inside + name
        # In order, as which files are opened must not depend on the disk.
        for name in sorted(unknown):
            if self._is_image(os.path.join(path, name), _known_ending(name)):
                yield inside + name

    def _count(self, kind: str) -> bool:
        readable = kind in self.readable
        (self.kinds if readable else self.left_out)[kind] += 1
        return readable

    def _is_image(self, path: str, ending: str) -> bool:
        """Count a file by its first bytes; whether it is an image."""
        in_vain = self.opened.setdefault(ending, 0)
        kind = None
        if ending not in NO_IMAGES and (in_vain is None or in_vain < MOST_OPENED):
            kind = format_of_bytes(_head(path))
        if kind is not None:
            self.opened[ending] = None
            return self._count(kind)
        if in_vain is not None:
            self.opened[ending] = in_vain + 1
        self.left_out[ending or 'of no known ending'] += 1
        return False


def _folder_format(name: str) -> str | None:
    """The format of an image that is a folder; None of all other folders."""
    kind = FORMAT_OF.get(ending_of(name))
    return kind if kind in OF_FOLDERS else None


def _known_ending(name: str) -> str:
    """The ending, or '' where what follows the last dot is a number or a text."""
    ending = ending_of(name)
    plain = ending.isascii() and ending.isalnum() and not ending.isdigit() and len(ending) <= 8
    return ending if plain else ''


def _head(path: str) -> bytes:
    try:
        with open(path, 'rb', buffering=0) as file:
            return file.read(HEAD)
    except OSError:
        return b''
