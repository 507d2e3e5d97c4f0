"""Whether two data sets give their classes the same numbers."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.logging import print_log

# How many names a message lists.
MOST = 5


def classes_of(dataset: Any) -> list[str]:
    """Names of a built data set's classes by number; none where nobody knows any."""
    known = getattr(dataset, 'metainfo', None) or {}
    return [str(name) for name in known.get('classes') or ()]


def check_numbers(
    key: str, classes: Sequence[str], trained: Sequence[str], where: str
) -> Iterator[str]:
    """Classes have the numbers that they were trained with: lists number those that they name.

    Names without a single one in common may be those of two languages, and pass.

    Args:
        key: Of the data set.
        classes: Its names by number.
        trained: Those of the training.
        where: What to call the training.
    """
    numbers: dict[str, list[int]] = {}
    for number, name in enumerate(trained):
        numbers.setdefault(name, []).append(number)
    strange = [name for name in classes if name not in numbers]
    for number, name in enumerate(classes):
        if name in numbers and number not in numbers[name]:
            yield (
                f'{key}: class {name!r} has the number {number}, and in {where} it is '
                f'{numbers[name][0]}: the one has {some_of(list(classes))}, the other '
                f'{some_of(list(trained))}; name the same ones in both, by classes=[...]'
            )
            return
    if strange and len(strange) < len(classes):
        print_log(
            f'{key} has classes that {where} has not: {some_of(strange)}',
            logger='current',
            level=logging.WARNING,
        )


def some_of(names: Sequence[str]) -> str:
    """Names for a message, cut where there are many."""
    more = f' and {len(names) - MOST} more' if len(names) > MOST else ''
    return ', '.join(repr(name) for name in names[:MOST]) + more
