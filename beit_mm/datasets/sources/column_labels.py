"""A column of labels, and the number of the class that each says."""

import unicodedata
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ...component import did_you_mean
from .names import as_array

# The code of an empty cell.
MISSING = -1
# What stands between the labels of a cell. Commas and spaces are in names, and are not taken by
# themselves.
SEPARATORS = ';|'


class Codes(NamedTuple):
    """A column that says few things many times.

    Attributes:
        codes: (N,) int, of each row: a place in ``names``, or :data:`MISSING`.
        names: What there is to say; None where the codes are numbers of classes themselves.
        are_classes: Whether ``names`` are all classes in their order, which the file states.
    """

    codes: np.ndarray
    names: Sequence[str] | None
    are_classes: bool = False


class CodesBuilder:
    """Takes texts one at a time."""

    def __init__(self) -> None:
        self.codes, self.numbers = array('i'), dict[str, int]()
        # As they were written.
        self.known: dict[str, int] = {}

    def code(self, text: str) -> int:
        """The code of a text."""
        if text not in self.known:
            name = clean(text)
            self.known[text] = self.numbers.setdefault(name, len(self.numbers)) if name else MISSING
        return self.known[text]

    def add(self, text: str) -> None:
        """Append a text; '' for an empty cell."""
        self.codes.append(self.code(text))

    def extend(self, texts: Sequence[str], codes: np.ndarray) -> None:
        """Append others' codes, (n,) int, which stand for these texts."""
        table = np.array([*map(self.code, texts), MISSING], np.int32)
        self.codes.frombytes(table[codes].tobytes())

    def build(self) -> Codes:
        """All of them."""
        return Codes(as_array(self.codes, np.int32), list(self.numbers))


def clean(name: str) -> str:
    """Letters with marks as one sign each, however they were typed."""
    return unicodedata.normalize('NFC', name.strip())


def in_order(names: Iterable[str]) -> list[str]:
    """Names of classes, in order: 2 before 10 where all are numbers.

    >>> in_order({'10', '2'}), in_order({'10', '2', 'a'})
    (['2', '10'], ['10', '2', 'a'])
    """
    every = list(names)
    numbers = all(name.isdecimal() for name in every)
    return sorted(every, key=lambda name: (int(name), name)) if numbers else sorted(every)


def separator_of(cells: Iterable[str], multi_label: bool | str | None) -> str:
    """What parts the labels in cells; '' if nothing does.

    Args:
        cells: All of them.
        multi_label: What parts them; False for nothing; else the cells tell.
    """
    if isinstance(multi_label, str):
        return multi_label
    if multi_label is False:
        return ''
    every = list(cells)
    return next((mark for mark in SEPARATORS if any(mark in cell for cell in every)), '')


class Labels(NamedTuple):
    """The labels of all rows.

    Attributes:
        codes: (N,) int32: the number of each row's class or, where rows may have several, a place
            in ``sets``; :data:`MISSING` for none.
        sets: The numbers of the classes.
        classes: Their names, None where nobody knows any.
    """

    codes: np.ndarray
    sets: list[list[int]] | None
    classes: tuple[str, ...] | None

    def of_row(self, row: int) -> int | list[int]:
        """The number of a row's class, or a list of several."""
        code = int(self.codes[row])
        if self.sets is None:
            return code
        return list(self.sets[code]) if code != MISSING else []


def labels_of_column(
    column: Codes,
    classes: Sequence[str] | None,
    where: Callable[[int], str],
    multi_label: bool | str | None = None,
) -> Labels:
    """The labels of all rows, one each or several.

    Args:
        column: What the table says.
        classes: Names of the classes, if the user gives them.
        where: What to call a row in messages.
        multi_label: Whether rows may have several labels, or what parts these in a cell, such as
            ','; None if the table is to tell: by a ';' or '|' in a cell.

    Raises:
        ValueError: If a row has no label where each has one, or one that is no class.
    """
    cells = [] if column.names is None or column.are_classes else column.names
    separator = separator_of(cells, multi_label)
    if not separator and not multi_label:
        codes, known = number_labels(column, classes, where)
        return Labels(codes, None, known)
    parted = [
        [name for part in (cell.split(separator) if separator else [cell]) if (name := clean(part))]
        for cell in (column.names or ())
    ]
    every = list(dict.fromkeys(name for names in parted for name in names))
    # The row of the first cell with each, for messages.
    codes, rows = np.unique(column.codes, return_index=True)
    row_of = dict(zip(codes.tolist(), rows.tolist(), strict=True))
    first = {name: row_of.get(k, 0) for k, names in reversed([*enumerate(parted)])
             for name in names}  # fmt: skip
    numbers, known = number_labels(
        Codes(np.arange(len(every)), every), classes, lambda place: where(first[every[place]])
    )
    places = dict(zip(every, numbers.tolist(), strict=True))
    sets = [sorted({places[name] for name in names}) for names in parted]
    return Labels(np.asarray(column.codes, np.int32), sets, known)


def number_labels(
    labels: Codes, classes: Sequence[str] | None, where: Callable[[int], str]
) -> tuple[np.ndarray, tuple[str, ...] | None]:
    """The number of each row's class.

    Names are numbered in the order of ``classes``; without, as the file states or in order of the
    alphabet. Where all labels are whole numbers, and no names of classes, they are those of the
    classes.

    Args:
        labels: The column.
        classes: Names of the classes, if the user gives them.
        where: What to call a row in messages.

    Returns:
        (N,) int32, and the names of the classes, None where nobody knows any.

    Raises:
        ValueError: If a row has no label, or one that is no class; it names the row.
    """
    codes, names = np.asarray(labels.codes), labels.names
    known = tuple(classes) if classes is not None else None
    if (codes == MISSING).any() and (names is not None or labels.are_classes):
        raise ValueError(f'{where(int(np.argmax(codes == MISSING)))}: there is no label')
    if names is not None:
        if known is None and labels.are_classes:
            known = tuple(names)
        if known is None and not all(map(_is_number, names)):
            known = tuple(in_order(names))
        table = _numbers_of(names, known)
        codes = table[codes] if len(codes) else codes
    wrong = (codes < 0) | (codes >= (len(known) if known else np.iinfo(np.int32).max))
    if wrong.any():
        row = int(np.argmax(wrong))
        code = int(labels.codes[row])
        raise ValueError(
            f'{where(row)}: {_no_class(code if names is None else names[code], known)}'
        )
    return codes.astype(np.int32), known


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _numbers_of(names: Sequence[str], classes: tuple[str, ...] | None) -> np.ndarray:
    """(len(names),) int64: the number of the class that each names, -1 if it names none."""
    if classes is None or (all(map(_is_number, names)) and not set(names) <= set(classes)):
        return np.array([int(name) if _is_number(name) else -1 for name in names], np.int64)
    places = {name: place for place, name in enumerate(classes)}
    return np.array([places.get(name, -1) for name in names], np.int64)


def _no_class(label: str | int, classes: tuple[str, ...] | None) -> str:
    if classes is None:
        return f'the label is {label!r}; it must be 0 or more'
    few = ', '.join(classes[:10]) + (', ...' if len(classes) > 10 else '')
    return (
        f'the label is {label!r}, and the {len(classes)} classes are {few}'
        f'{did_you_mean(str(label), classes)}'
    )
