"""A column of labels, and the number of the class that each says."""

from array import array
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ...component import did_you_mean
from .names import as_array

# The code of an empty cell.
MISSING = -1


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

    def code(self, text: str) -> int:
        """The code of a text."""
        return self.numbers.setdefault(text, len(self.numbers)) if text else MISSING

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
            known = tuple(sorted(names))
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
