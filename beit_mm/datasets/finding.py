"""Images in a folder: told by their endings, and those without a known one by their first bytes.

What is taken is what :func:`~beit_mm.datasets.reading.opening.open_image` can read in this
installation. An image may be a folder: that of Zarr.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from .reading.known_formats import FORMATS
from .sources.folder_index import FolderIndex
from .sources.folder_listing import Folder
from .sources.folder_search import FolderSearch, folder_format, is_folder, is_hidden
from .sources.names import JoinedNames

# Kinds of files that are told one by one.
MOST_TOLD = 6


class Found(NamedTuple):
    """Images of a folder and of all folders in it; prints as one line.

    Attributes:
        names: Paths inside the folder, in order; made one by one when they are asked for.
        kinds: Format -> number of its files.
        left_out: Kind -> number of its files: a format that needs another package, or an ending.
        stacks: Files that hold several of the images.
    """

    names: Sequence[str]
    kinds: dict[str, int]
    left_out: dict[str, int]
    stacks: int = 0

    def __str__(self) -> str:
        told = f'{_number(len(self.names), "image")}{_counts(self.kinds)}'
        if self.stacks:
            files = sum(self.kinds.values())
            told += f' in {_number(files, "file")}, of which {self.stacks} hold a stack'
        if left := sum(self.left_out.values()):
            told += f', {_number(left, "file")} left out{_counts(self.left_out)}'
        needed = [f'{k} takes {FORMATS[k].package}' for k in FORMATS if k in self.left_out]
        return '; '.join([told, *needed, *filter(None, [getattr(self.names, 'note', '')])])


def _number(count: int, what: str) -> str:
    return f'{count} {what}{"" if count == 1 else "s"}'


def _counts(kinds: Mapping[str, int]) -> str:
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    parts = [f'{count} {kind}' for kind, count in ordered[:MOST_TOLD]]
    if rest := sum(count for _, count in ordered[MOST_TOLD:]):
        parts.append(f'{rest} others')
    return f' ({", ".join(parts)})' if parts else ''


def find_photos(folder: str | Path, index_dir: str | Path | None = None) -> Found:
    """Find the images of a folder and of all folders in it.

    Hidden files and folders, and what systems leave behind, do not count. Links are followed; a
    folder that is reached in more than one way is searched once, under its own name where that is
    inside.

    Args:
        folder: Where to look.
        index_dir: Folder of the indices of large folders, see
            :mod:`~beit_mm.datasets.sources.folder_index`; None to use none.

    Raises:
        OSError: If the folder cannot be read.
    """
    [found] = _find({'': Path(folder)}, FolderIndex(index_dir, folder)).values()
    return found


def _find(folders: Mapping[str, Path], index: FolderIndex) -> dict[str, Found]:
    """What is in folders, each searched by itself, by their paths in the folder of the index."""
    searches, known = {}, index.read()
    for prefix, folder in folders.items():
        search = searches[prefix] = FolderSearch(folder)
        search.run(known and known.below(prefix))
    listed = sum(search.listed for search in searches.values())
    note = index.keep([(prefix, s.listing) for prefix, s in searches.items()], listed)
    return {prefix: _found(search, note) for prefix, search in searches.items()}


def _found(search: FolderSearch, note: str) -> Found:
    listing, left_out = search.listing, search.listing.total('left_out')
    if search.closed:
        left_out['closed folder'] = search.closed
    names = listing.names()
    names.note = note
    return Found(names, listing.total('kinds'), left_out)


def has_photo(folder: str | Path) -> bool:
    """Whether there is an image in a folder or in the folders in it; searches no further."""
    return FolderSearch(folder).has_photo()


def list_classes(folder: str | Path) -> list[str]:
    """Names of the folders in a folder, in order, without hidden ones and those that are images."""
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if is_folder(e) and not is_hidden(e.name)]
    return sorted(name for name in names if folder_format(name) is None)


def find_classes(folder: str | Path, index_dir: str | Path | None = None) -> dict[str, Found]:
    """Find the images of each class folder.

    Args:
        folder: Of the class folders.
        index_dir: See :func:`find_photos`.

    Returns:
        Name of the class -> what is in its folder; in order.
    """
    folders = {f'{name}/': Path(folder, name) for name in list_classes(folder)}
    found = _find(folders, FolderIndex(index_dir, folder, 'classes'))
    return {prefix[:-1]: inside for prefix, inside in found.items()}


def join_classes(folder: str | Path, classes: Mapping[str, Found]) -> Found:
    """What :func:`find_classes` has found in all class folders of a folder.

    Names begin with that of the class. Images beside the class folders are left out and counted.
    """
    names = JoinedNames({f'{label}/': found.names for label, found in classes.items()})
    beside = Folder()
    loose = sum(1 for _ in FolderSearch(folder).files(str(folder), beside))
    kinds, left_out = Counter[str](), beside.left_out
    if loose:
        left_out['in no class folder'] = loose
    for found in classes.values():
        kinds.update(found.kinds)
        left_out.update(found.left_out)
        names.note = getattr(found.names, 'note', '')
    stacks = sum(found.stacks for found in classes.values())
    return Found(names, dict(kinds), dict(left_out), stacks)
