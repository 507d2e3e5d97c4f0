"""A list of images as columns: which column is which, and how text files give them."""

import codecs
import csv
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...component import did_you_mean
from .column_labels import Codes, CodesBuilder
from .names import Strings, StringsBuilder, as_array, encode

# Columns as people call them: of the file, its class, its mask, and the side it is on. What is in
# an image's file lies in a column of these names too.
PATHS = ('path', 'file', 'filename', 'file_name', 'image', 'img', 'image_path', 'filepath')
LABELS = ('label', 'class', 'class_name', 'category', 'target', 'labels', 'classes', 'tags')
MASKS = ('mask', 'mask_path', 'seg_map', 'seg_map_path', 'annotation')
SPLITS = ('split', 'subset', 'set', 'fold')
IMAGES = ('image', 'img', 'image_bytes', 'img_bytes', 'bytes', 'photo', 'picture')
USUAL = dict(path=PATHS, label=LABELS, mask=MASKS, split=SPLITS, image=IMAGES)
# Sides, as people call them.
TRAIN, VAL, TEST = ('train', 'training'), ('val', 'valid', 'validation'), ('test', 'testing')
# How text tables end, and what parts the cells of a line where the first does not tell.
DELIMITER_OF = {'.csv': ',', '.tsv': '\t'}
DELIMITERS = ',;\t|'


class Images(Protocol):
    """What is in the files of images, by row."""

    def __getitem__(self, row: int) -> bytes: ...

    def name(self, row: int) -> str:
        """What to call it in messages."""
        ...

    def size(self, row: int) -> int:
        """Its bytes or, where they are not known without reading it, those of what it lies in."""
        ...


class Table(NamedTuple):
    """A list of images.

    Attributes:
        rows: How many.
        where: What to call a row in messages, such as 'list.csv, line 7'.
        paths, masks: Of their files; None where there is no such column.
        labels, splits: What they are; None where there is no such column.
        images: What is in the files, where they are no files of their own.
        blocks: (rows,) numbers of parts that are read as a whole, if any.
    """

    rows: int
    where: Callable[[int], str]
    paths: Sequence[str] | None = None
    masks: Sequence[str] | None = None
    labels: Codes | None = None
    splits: Codes | None = None
    images: Images | None = None
    blocks: np.ndarray | None = None


def find_column(columns: Sequence[str], names: Iterable[str]) -> str | None:
    """The column that has one of these names, whatever its case."""
    lower = {(column or '').strip().lower(): column for column in columns}
    return next((lower[name] for name in names if name in lower), None)


def find_columns(
    path: str | Path, columns: Sequence[str], given: Mapping[str, str | None]
) -> dict[str, str]:
    """Which column is what.

    Args:
        path: Of the table, for messages.
        columns: All there are.
        given: What the user says: a part of :data:`USUAL` -> its column, None for none.

    Returns:
        A part of :data:`USUAL` -> column; parts that there is no column of are missing.

    Raises:
        ValueError: If the user names a column that is not there, or a part that is none.
    """
    found = {}
    for part, name in given.items():
        if part not in USUAL:
            raise ValueError(
                f'columns names {part!r}; it may name {", ".join(USUAL)}{did_you_mean(part, USUAL)}'
            )
        if name is not None and name not in columns:
            raise ValueError(
                f'{path} has the columns {", ".join(columns) or "none"}, and no {name!r}'
                f'{did_you_mean(name, columns)}'
            )
    for part, names in USUAL.items():
        column = given[part] if part in given else find_column(columns, names)
        if column is not None:
            found[part] = column
    return found


def check_needed(
    path: str | Path, columns: Sequence[str], parts: Mapping[str, str], needed: Sequence[str]
) -> None:
    """Every part that is needed has a column; what is in an image's file does for its path.

    Raises:
        ValueError: If one has none.
    """
    there = {*parts, 'path'} if 'image' in parts else set(parts)
    if set(needed) - there:
        raise ValueError(
            f'{path} has the columns {", ".join(columns) or "none"}; it must have '
            f'{" and ".join(needed)}'
        )


def read_text_table(
    path: Path, given: Mapping[str, str | None], needed: Sequence[str] = ('path',)
) -> Table:
    """A .txt file with a path on each line, or a .csv or .tsv file with a line of columns.

    Args:
        path: Of the file.
        given: See :func:`find_columns`.
        needed: Parts that must have a column.

    Raises:
        ValueError: If it is not in UTF-8, lacks a column, or a line has no path.
    """
    with open_text(path) as lines:
        if path.suffix.lower() == '.txt':
            check_needed(path, ['path'], dict(path='path'), needed)
            return _read_lines(path, lines)
        return _read_cells(path, lines, given, needed)


@contextmanager
def open_text(path: Path) -> Iterator[Iterator[str]]:
    """The lines of a text: UTF-8 with or without a mark of order, or UTF-16 with one.

    So Excel writes it, and a note to itself in the first line, which is left out.

    Raises:
        ValueError: If it is in another encoding, or what is in it is no table.
    """
    with path.open('rb') as file:
        wide = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    try:
        with path.open(encoding='utf-16' if wide else 'utf-8-sig', newline='') as lines:
            first = lines.readline()
            # A line still, so that numbers of lines are those of an editor.
            yield chain([re.sub(r'\Asep=.(?=\r?\n\Z)', '', first)], lines)
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is not in UTF-8: save it in that encoding') from error
    except csv.Error as error:
        raise ValueError(f'{path} is no table: {error}') from error


def read_head(
    path: Path, lines: Iterator[str], names: Sequence[str] = PATHS
) -> tuple[list[str], Any, int]:
    """The columns of a text table, a reader of its rows, and how many lines it does not count.

    Args:
        path: Of the table.
        lines: All of it.
        names: Of the column of paths: the cells are parted so that there is one.
    """
    left_out, first = 0, next(lines, '')
    while first and not first.strip():
        left_out, first = left_out + 1, next(lines, '')
    heads = {mark: next(csv.reader([first], delimiter=mark), []) for mark in DELIMITERS}
    fitting = [m for m, head in heads.items() if len(head) > 1 and find_column(head, names)]
    delimiter = fitting[0] if fitting else DELIMITER_OF.get(path.suffix.lower(), ',')
    reader = csv.reader(chain([first], lines), delimiter=delimiter)
    return next(reader, []), reader, left_out


def _read_lines(path: Path, file: Iterable[str]) -> Table:
    names, numbers = StringsBuilder(), array('q')
    for number, line in enumerate(file, start=1):
        if name := line.strip():
            names.add(encode(name))
            numbers.append(number)
    return Table(len(names), LineNames(path, numbers), names.build())


class LineNames:
    """What to call a row of a text file in messages.

    Args:
        path: Of the file.
        numbers: Of the lines, from 1.
    """

    def __init__(self, path: Path, numbers: array) -> None:
        self.path, self.lines = path, as_array(numbers, np.int64)

    def __call__(self, row: int) -> str:
        """File and line."""
        return f'{self.path}, line {self.lines[row]}'


def _read_cells(
    path: Path, lines: Iterator[str], given: Mapping[str, str | None], needed: Sequence[str]
) -> Table:
    named = given.get('path')
    names = PATHS if named is None else [named.strip().lower()]
    columns, reader, left_out = read_head(path, lines, names)
    # What is in an image's file is no text.
    parts = find_columns(path, columns, {'image': None, **given})
    check_needed(path, columns, parts, needed)
    places = {part: columns.index(column) for part, column in parts.items()}
    texts = {part: StringsBuilder() for part in ('path', 'mask') if part in places}
    codes = {part: CodesBuilder() for part in ('label', 'split') if part in places}
    numbers = array('q')
    for cells in reader:
        # A blank line, as at the end.
        if not any(cells):
            continue
        cell = {p: cells[k].strip() if k < len(cells) else '' for p, k in places.items()}
        number = reader.line_num + left_out
        if not cell['path']:
            raise ValueError(f'{path}, line {number}: there is no {parts["path"]}')
        if not cell.get('mask', 'none'):
            raise ValueError(
                f'{path}, line {number}: there is no {parts["mask"]}; columns=dict(mask=None) does '
                'without masks'
            )
        numbers.append(number)
        for part, text in texts.items():
            text.add(encode(cell[part]))
        for name, code in codes.items():
            code.add(cell[name])
    built: dict[str, Strings] = {part: text.build() for part, text in texts.items()}
    coded = {part: code.build() for part, code in codes.items()}
    return Table(
        len(numbers), LineNames(path, numbers), built['path'], built.get('mask'),
        coded.get('label'), coded.get('split'),
    )  # fmt: skip


def rows_of_split(splits: Codes, split: str) -> np.ndarray:
    """(n,) numbers of the rows on a side: train, val, test, by any of their names, or another.

    Where there are no rows for validation, those of the test are meant, and the other way round.
    """
    given = [name.strip().lower() for name in splits.names or ()]
    sides = next((s for s in ((TRAIN,), (VAL, TEST), (TEST, VAL)) if split.lower() in s[0]), None)
    for side in sides or ((split.lower(),),):
        numbers = [number for number, name in enumerate(given) if name in side]
        rows = np.flatnonzero(np.isin(splits.codes, numbers))
        if len(rows):
            break
    return rows
