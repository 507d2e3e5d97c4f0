"""What has been found in each folder of a tree, as arrays; and how they are saved and read."""

import copy
import json
import zipfile
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...checkpoints.writing import written_whole
from .names import Names, Strings, StringsBuilder, as_array, encode, first_at_least

# Of the file's layout.
FORMAT = 2
# Said of a folder that must be listed again whatever its time stamp.
UNSURE = -1
# What is counted in a folder, by kind or ending: images; other files; files of an unknown ending
# that were opened and are no images.
COUNTED = ('kinds', 'left_out', 'opened')


@dataclass
class Folder:
    """What is in a folder, beside the names of its images.

    Attributes:
        below: The folders in it: name, and whether it is a link.
        kinds, left_out, opened: See :data:`COUNTED`.
    """

    below: list[tuple[str, bool]] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    opened: Counter[str] = field(default_factory=Counter)


class Listing(NamedTuple):
    """The folders of a tree, F of them, and the images in each, in order.

    Attributes:
        folders: Their paths inside the tree: '' or with '/' at the end.
        stamps: (F,) int64, when each was changed last, in nanoseconds, or :data:`UNSURE`.
        leaf_ends: (F,) int64, where its images end in ``leaves``.
        leaves: Names of the images in their folders.
        below_ends: (F,) int64, where the folders in it end in ``below``.
        below: Their names, with '/' at the end, and a second one if it is a link.
        count_ends: (F,) int64, where its counts end in ``counts``.
        counts: (C, 3) int64: which of :data:`COUNTED`, of what in ``keys``, and how many.
        keys: Kinds and endings.
    """

    folders: Strings
    stamps: np.ndarray
    leaf_ends: np.ndarray
    leaves: Strings
    below_ends: np.ndarray
    below: Strings
    count_ends: np.ndarray
    counts: np.ndarray
    keys: Strings

    def leaves_of(self, number: int) -> tuple[int, int]:
        """From which to before which of the leaves are in a folder."""
        return _between(self.leaf_ends, number)

    def folder(self, number: int) -> Folder:
        """What is in a folder."""
        names = map(self.below.text, range(*_between(self.below_ends, number)))
        found = Folder([(name.rstrip('/'), name.endswith('//')) for name in names])
        for what, key, count in self.counts[slice(*_between(self.count_ends, number))].tolist():
            getattr(found, COUNTED[what])[self.keys.text(key)] = count
        return found

    def total(self, group: str) -> dict[str, int]:
        """One of :data:`COUNTED` of all folders, by kind or ending."""
        rows = self.counts[self.counts[:, 0] == COUNTED.index(group)]
        sums = np.zeros(len(self.keys), np.int64)
        np.add.at(sums, rows[:, 1], rows[:, 2])
        return {key: n for key, n in zip(self.keys, sums.tolist(), strict=True) if n}

    def names(self) -> Names:
        """Paths of all images, in order."""
        runs, length = array('q'), 0
        for folder, begin, end in self._in_order():
            runs.extend((length, folder, begin))
            length += end - begin
        return Names(self.folders, self.leaves, as_array(runs, np.int64).reshape(-1, 3), length)

    def _in_order(self) -> Iterator[tuple[int, int, int]]:
        """(folder, first leaf, leaf after the last) of images in a row, in order of their paths."""
        numbers = {raw: number for number, raw in enumerate(self.folders.raws())}
        roots = iter([0] if len(self.folders) else [])
        # The folders that one is in, each with what is left of it.
        way: list[Iterator[int | tuple[int, int, int]]] = [roots]
        while way:
            piece = next(way[-1], None)
            if piece is None:
                way.pop()
            elif isinstance(piece, int):
                way.append(self._pieces(piece, numbers))
            else:
                yield piece

    def _pieces(
        self, number: int, numbers: Mapping[bytes, int]
    ) -> Iterator[int | tuple[int, int, int]]:
        """A folder's images in a row, and numbers of the folders between them."""
        begin, end = self.leaves_of(number)
        inside = self.folders.raw(number)
        below = map(self.below.raw, range(*_between(self.below_ends, number)))
        for name in sorted(raw.rstrip(b'/') + b'/' for raw in below):
            # Links that were not followed have no number.
            if (child := numbers.get(inside + name)) is None:
                continue
            middle = first_at_least(self.leaves, name, begin, end)
            if middle > begin:
                yield number, begin, middle
            begin = middle
            yield child
        if end > begin:
            yield number, begin, end


def _between(ends: np.ndarray, number: int) -> tuple[int, int]:
    return int(ends[number - 1]) if number else 0, int(ends[number])


class ListingBuilder:
    """Takes one folder after another: :meth:`begin`, :meth:`leaf` by leaf, :meth:`end`."""

    def __init__(self) -> None:
        self.folders, self.leaves, self.below = StringsBuilder(), StringsBuilder(), StringsBuilder()
        self.stamps, self.leaf_ends, self.below_ends = array('q'), array('q'), array('q')
        self.count_ends, self.counts = array('q'), array('q')
        self.keys: dict[str, int] = {}

    def leaf(self, raw: bytes) -> None:
        """An image of the folder that comes next; they come in order."""
        self.leaves.add(raw)

    def leaves_from(self, listing: Listing, number: int) -> None:
        """All images of a folder that another listing knows."""
        self.leaves.extend(listing.leaves, *listing.leaves_of(number))

    def end(self, inside: str, stamp: int, found: Folder) -> None:
        """The folder whose images these were."""
        self.folders.add(encode(inside))
        self.stamps.append(stamp)
        self.leaf_ends.append(len(self.leaves))
        for name, is_link in found.below:
            self.below.add(encode(name) + (b'//' if is_link else b'/'))
        self.below_ends.append(len(self.below))
        for what, group in enumerate(COUNTED):
            for key, count in getattr(found, group).items():
                self.counts.extend((what, self.keys.setdefault(key, len(self.keys)), count))
        self.count_ends.append(len(self.counts) // 3)

    def build(self) -> Listing:
        """All of them; nothing can be added any more."""
        keys = StringsBuilder()
        for key in self.keys:
            keys.add(encode(key))
        numbers = (self.stamps, self.leaf_ends, self.below_ends, self.count_ends, self.counts)
        stamps, leaf_ends, below_ends, count_ends, counts = (as_array(n, np.int64) for n in numbers)
        return Listing(
            self.folders.build(), stamps, leaf_ends, self.leaves.build(), below_ends,
            self.below.build(), count_ends, counts.reshape(-1, 3), keys.build(),
        )  # fmt: skip


class KnownFolders:
    """What an earlier search has found, by folder.

    Args:
        listing: All of it.
        prefix: The folder in it whose folders are asked for: '' or with '/' at the end.
    """

    def __init__(self, listing: Listing, prefix: str = '') -> None:
        self.listing, self.prefix = listing, prefix
        self.numbers = {raw: number for number, raw in enumerate(listing.folders.raws())}

    def below(self, prefix: str) -> 'KnownFolders':
        """The same, asked for what is in one of the folders."""
        other = copy.copy(self)
        other.prefix = prefix
        return other

    def number(self, inside: str, stamp: int) -> int | None:
        """The number of a folder, if it bears the same time stamp as then."""
        number = self.numbers.get(encode(self.prefix + inside))
        return number if number is not None and self.listing.stamps[number] == stamp else None

    def copy(self, number: int, found: Folder, builder: ListingBuilder) -> None:
        """Hand on what is in a folder."""
        vars(found).update(vars(self.listing.folder(number)))
        builder.leaves_from(self.listing, number)


def join_listings(parts: Iterable[tuple[str, Listing]]) -> Listing:
    """One listing of several trees, each below a folder: its path, and what is in it."""
    joined = ListingBuilder()
    for prefix, part in parts:
        for number, inside in enumerate(part.folders):
            joined.leaves_from(part, number)
            joined.end(prefix + inside, int(part.stamps[number]), part.folder(number))
    return joined.build()


def save_listing(path: Path, listing: Listing, made_for: Mapping) -> None:
    """Write a listing.

    Args:
        path: Ends in .npz; is there as a whole or not at all.
        listing: What to write.
        made_for: What it is of, as JSON has it; :func:`read_listing` asks for the same.

    Raises:
        OSError: If it cannot be written.
    """
    arrays: dict[str, Any] = {}
    for name, value in zip(Listing._fields, listing, strict=True):
        if isinstance(value, Strings):
            arrays |= {name: value.buffer, f'{name}.ends': value.ends}
        else:
            arrays[name] = value
    note = json.dumps(dict(format=FORMAT, **made_for)).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as file:
        np.savez(file, made_for=np.frombuffer(note, np.uint8), **arrays)


def read_listing(path: Path, made_for: Mapping) -> Listing | None:
    """A listing that was saved, or None if there is none, or one that is damaged or of another."""
    wanted = json.loads(json.dumps(dict(format=FORMAT, **made_for)))
    try:
        # Every array has a checksum.
        with np.load(path, allow_pickle=False) as arrays:
            if json.loads(arrays['made_for'].tobytes()) != wanted:
                return None
            parts: list[Any] = [
                Strings(arrays[name], arrays[f'{name}.ends'])
                if f'{name}.ends' in arrays.files
                else arrays[name]
                for name in Listing._fields
            ]
            return Listing(*parts)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
