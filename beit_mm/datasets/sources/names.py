"""Millions of names in little memory: bytes one after another, and where each ends."""

import heapq
from abc import abstractmethod
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import overload

import numpy as np

# Names that are sorted as Python's objects at once, 100 bytes each.
SORTED_AT_ONCE = 1_000_000


def encode(name: str) -> bytes:
    """A name as the system has it: any bytes are a name of a file."""
    return name.encode('utf-8', 'surrogateescape')


def decode(raw: bytes) -> str:
    """The way back from :func:`encode`."""
    return raw.decode('utf-8', 'surrogateescape')


class CompactSequence(Sequence[str]):
    """A sequence of texts that are made when they are asked for; equal to any with the same.

    Attributes:
        note: What is to be told of where they come from.
    """

    note = ''

    @abstractmethod
    def text(self, index: int) -> str:
        """The one at a place, which is in range."""

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self.text(place) for place in range(*index.indices(len(self)))]
        place = int(index) + len(self) if index < 0 else int(index)
        if not 0 <= place < len(self):
            raise IndexError(f'there are {len(self)}, and {index} is asked for')
        return self.text(place)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, (str, bytes)):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __repr__(self) -> str:
        shown = ', '.join(repr(name) for name in islice(self, 3))
        return f'{type(self).__name__}([{shown}{", ..." if len(self) > 3 else ""}])'


class Strings(CompactSequence):
    """Texts one after another.

    Args:
        buffer: (N,) uint8, their bytes.
        ends: (n,) int64, where each ends in them; the first begins at 0.
    """

    def __init__(self, buffer: np.ndarray, ends: np.ndarray) -> None:
        self.buffer, self.ends = buffer, ends

    def __len__(self) -> int:
        return len(self.ends)

    def raw(self, index: int) -> bytes:
        """The bytes of one."""
        begin = self.ends[index - 1] if index else 0
        return self.buffer[begin : self.ends[index]].tobytes()

    def text(self, index: int) -> str:
        """The one at a place."""
        return decode(self.raw(index))

    def raws(self, begin: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes of each from one place to before another."""
        end = len(self) if end is None else end
        for first in range(begin, end, 65536):
            last = min(first + 65536, end)
            start = int(self.ends[first - 1]) if first else 0
            ends = self.ends[first:last].tolist()
            piece, at = self.buffer[start : ends[-1]].tobytes(), 0
            for stop in ends:
                yield piece[at : stop - start]
                at = stop - start

    def __iter__(self) -> Iterator[str]:
        return map(decode, self.raws())


class StringsBuilder:
    """Takes texts one at a time."""

    def __init__(self) -> None:
        self.buffer, self.ends = bytearray(), array('q')

    def __len__(self) -> int:
        return len(self.ends)

    def add(self, raw: bytes) -> None:
        """Append one."""
        self.buffer += raw
        self.ends.append(len(self.buffer))

    def extend(self, strings: Strings, begin: int, end: int) -> None:
        """Append those of others from one place to before another."""
        if begin == end:
            return
        start = int(strings.ends[begin - 1]) if begin else 0
        ends = strings.ends[begin:end]
        self.ends.frombytes((ends - start + len(self.buffer)).astype(np.int64).tobytes())
        self.buffer += strings.buffer[start : ends[-1]].tobytes()

    def build(self) -> Strings:
        """All of them; nothing can be added any more."""
        return Strings(as_array(self.buffer, np.uint8), as_array(self.ends, np.int64))


def as_array(buffer: bytearray | array, dtype: type) -> np.ndarray:
    """An array of what lies in a buffer, which is not copied."""
    return np.frombuffer(buffer, dtype) if len(buffer) else np.zeros(0, dtype)


class NameSorter:
    """Puts names in the order of their bytes, which is Python's order of their characters.

    Beyond :data:`SORTED_AT_ONCE` of them it keeps their bytes alone.
    """

    def __init__(self) -> None:
        self.runs: list[Strings] = []
        self.pending: list[bytes] = []

    def add(self, name: str) -> None:
        """Take a name."""
        self.pending.append(encode(name))
        if len(self.pending) >= SORTED_AT_ONCE:
            builder = StringsBuilder()
            for raw in sorted(self.pending):
                builder.add(raw)
            self.runs.append(builder.build())
            self.pending.clear()

    def __iter__(self) -> Iterator[bytes]:
        self.pending.sort()
        if not self.runs:
            return iter(self.pending)
        return heapq.merge(*(run.raws() for run in self.runs), self.pending)


class Names(CompactSequence):
    """Paths of files: those of one folder in a row share the folder's path.

    Args:
        folders: Paths of the folders, '' or with a separator at the end.
        leaves: Names of the files in their folders.
        runs: (R, 3) int64, files in a row: the first one's place here, its folder, and its leaf.
        length: How many files there are.
    """

    def __init__(self, folders: Strings, leaves: Strings, runs: np.ndarray, length: int) -> None:
        self.folders, self.leaves, self.runs, self.length = folders, leaves, runs, length
        self.firsts = np.ascontiguousarray(runs[:, 0])

    def __len__(self) -> int:
        return self.length

    def text(self, index: int) -> str:
        """The one at a place."""
        first, folder, leaf = self.runs[int(self.firsts.searchsorted(index, 'right')) - 1]
        return self.folders.text(int(folder)) + self.leaves.text(int(leaf + index - first))

    def __iter__(self) -> Iterator[str]:
        ends = np.append(self.firsts, self.length)[1:].tolist()
        for (first, folder, leaf), end in zip(self.runs.tolist(), ends, strict=True):
            inside = self.folders.text(folder)
            for raw in self.leaves.raws(leaf, leaf + end - first):
                yield inside + decode(raw)


class JoinedNames(CompactSequence):
    """Names of several sequences, each behind a text of its own.

    Args:
        parts: Text -> names; in order.
    """

    def __init__(self, parts: Mapping[str, Sequence[str]]) -> None:
        kept = {prefix: names for prefix, names in parts.items() if len(names)}
        self.prefixes, self.parts = list(kept), list(kept.values())
        self.ends = np.cumsum([len(names) for names in self.parts], dtype=np.int64).tolist()

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def text(self, index: int) -> str:
        """The one at a place."""
        part = bisect_right(self.ends, index)
        return self.prefixes[part] + self.parts[part][index - (self.ends[part - 1] if part else 0)]

    def __iter__(self) -> Iterator[str]:
        for prefix, names in zip(self.prefixes, self.parts, strict=True):
            for name in names:
                yield prefix + name


class ChosenNames(CompactSequence):
    """Some of other names.

    Args:
        names: The others.
        places: (n,) int64, which of them.
    """

    def __init__(self, names: Sequence[str], places: np.ndarray) -> None:
        self.names, self.places = names, places

    def __len__(self) -> int:
        return len(self.places)

    def text(self, index: int) -> str:
        """The one at a place."""
        return self.names[int(self.places[index])]


def first_at_least(leaves: Strings, key: bytes, begin: int, end: int) -> int:
    """The place, between two, of the first name that is not before a key; names are in order."""
    return bisect_left(_Raws(leaves), key, begin, end)


class _Raws(Sequence[bytes]):
    def __init__(self, strings: Strings) -> None:
        self.strings = strings

    def __len__(self) -> int:
        return len(self.strings)

    def __getitem__(self, index):
        return self.strings.raw(index)
