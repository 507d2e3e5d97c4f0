"""One search of a folder and of all folders in it for images."""

import os
import re
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from ..reading.known_formats import (
    FORMAT_OF,
    HEAD,
    NO_IMAGES,
    OF_FOLDERS,
    ending_of,
    format_of_bytes,
    readable_formats,
)
from .folder_listing import UNSURE, Folder, KnownFolders, Listing, ListingBuilder
from .names import NameSorter, decode

# Line breaks and other control characters, or bytes that are no UTF-8: lists of images are text, a
# line each. An image of such a name would end a run where its list is written or read.
UNLISTABLE = re.compile('[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]')
CONTROLS, NO_TEXT = 'with control characters in the name', 'with a name that is no UTF-8'
# What systems leave in folders; hidden ones begin with a dot.
OF_SYSTEMS = frozenset(('__macosx', 'thumbs.db', 'desktop.ini', '@eadir'))
# Files of an unknown ending that are opened before one is an image; then the ending is no image's.
MOST_OPENED = 1000
# Nanoseconds: a folder that was changed so shortly before it was listed may have been changed in
# the middle and bear the same time stamp, which some systems count in steps of two seconds.
RECENT = 2_000_000_000


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or of a system's making."""
    return name[0] == '.' or name.lower() in OF_SYSTEMS


def is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry is a folder or a link to one; a link in circles leads to none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


class FolderSearch:
    """A search of a folder.

    Memory is that of the names found as bytes, and of one folder's as Python's objects up to
    :data:`~beit_mm.datasets.sources.names.SORTED_AT_ONCE`.

    Args:
        root: The folder.

    Attributes:
        listing: What has been found, after :meth:`run`.
        listed: How many folders were listed for it.
        closed: How many cannot be.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = str(root)
        self.readable = readable_formats()
        self._begin()

    def _begin(self) -> None:
        self.listed = self.closed = 0
        # Ending -> files opened in vain; None where one was an image.
        self.opened: dict[str, int | None] = {}

    def run(self, known: KnownFolders | None = None) -> None:
        """Search it all.

        Args:
            known: What an earlier search has found; folders that bear the same time stamp are not
                listed again.

        Raises:
            OSError: If the folder cannot be read.
        """
        self._begin()
        self.listing = self._search(known)
        # Which ones are opened, of an ending with too many, depends on all that come before.
        many = any(n >= MOST_OPENED for n in self.listing.total('opened').values())
        if known and self.listed and many:
            self.run()

    def _search(self, known: KnownFolders | None) -> Listing:
        builder = ListingBuilder()
        for inside, stamp, found in self.walk():
            if known is None or (number := known.number(inside, stamp)) is None:
                stamp = self._list(inside, stamp, found, builder)
            else:
                known.copy(number, found, builder)
            builder.end(inside, stamp, found)
        return builder.build()

    def _list(self, inside: str, stamp: int, found: Folder, builder: ListingBuilder) -> int:
        """List a folder; return its time stamp if that can be trusted."""
        self.listed += 1
        names = NameSorter()
        if time.time_ns() - stamp < RECENT:
            stamp = UNSURE
        try:
            for name in self.files(os.path.join(self.root, inside), found):
                names.add(name)
        except OSError:
            if not inside:
                raise
            self.closed += 1
            stamp = UNSURE
        for raw in names:
            builder.leaf(raw)
        return stamp

    def has_photo(self) -> bool:
        """Whether there is an image; searches no further than the first."""
        for inside, _, found in self.walk():
            try:
                for _ in self.files(os.path.join(self.root, inside), found):
                    return True
            except OSError:
                if not inside:
                    raise
        return False

    def walk(self) -> Iterator[tuple[str, int, Folder]]:
        """Yield each folder once.

        Yields:
            Path inside the root, time stamp, and what is in it, where the caller puts the folders.
        """
        folders, links = [''], deque[str]()
        # (device, inode) of folders.
        seen: set[tuple[int, int]] = set()
        while folders or links:
            # Links last, so that what lies inside is found under its own name.
            inside = folders.pop() if folders else links.popleft()
            try:
                status = os.stat(os.path.join(self.root, inside))
            except OSError:
                if not inside:
                    raise
                self.closed += 1
                continue
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            found = Folder()
            yield inside, status.st_mtime_ns, found
            below = sorted(found.below)
            folders += [f'{inside}{name}/' for name, is_link in reversed(below) if not is_link]
            links.extend(f'{inside}{name}/' for name, is_link in below if is_link)

    def files(self, path: str, found: Folder) -> Iterator[str]:
        """Yield the images in one folder, in no order, and count all that is in it."""
        unknown = NameSorter()
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                if is_hidden(name):
                    continue
                if wrong := UNLISTABLE.search(name):
                    found.left_out[NO_TEXT if wrong[0] >= '\ud800' else CONTROLS] += 1
                    continue
                try:
                    if entry.is_dir():
                        if (kind := folder_format(name)) is None:
                            found.below.append((name, entry.is_symlink()))
                        elif self._count(kind, found):
                            yield name
                        continue
                    is_file = entry.is_file()
                except OSError:
                    is_file = False
                if not is_file:
                    found.left_out['broken link' if entry.is_symlink() else 'device'] += 1
                elif (kind := FORMAT_OF.get(ending_of(name))) is None or kind in OF_FOLDERS:
                    unknown.add(name)
                elif self._count(kind, found):
                    yield name
        # In order, as which files are opened must not depend on the disk.
        for name in map(decode, unknown):
            if self._is_image(os.path.join(path, name), _known_ending(name), found):
                yield name

    def _count(self, kind: str, found: Folder) -> bool:
        readable = kind in self.readable
        (found.kinds if readable else found.left_out)[kind] += 1
        return readable

    def _is_image(self, path: str, ending: str, found: Folder) -> bool:
        """Count a file by its first bytes; whether it is an image."""
        in_vain = self.opened.setdefault(ending, 0)
        kind = None
        if ending not in NO_IMAGES and (in_vain is None or in_vain < MOST_OPENED):
            kind = format_of_bytes(_head(path))
        if kind is not None:
            self.opened[ending] = None
            return self._count(kind, found)
        if ending not in NO_IMAGES:
            found.opened[ending] += 1
        if in_vain is not None:
            self.opened[ending] = in_vain + 1
        # The ending of images that are folders.
        kind = f'{ending} that is no folder' if ending in FORMAT_OF else ending
        found.left_out[kind or 'of no known ending'] += 1
        return False


def folder_format(name: str) -> str | None:
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
