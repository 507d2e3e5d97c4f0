"""A list of images as columns: which column is which, and how text files give them."""

import csv
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from ...component import did_you_mean
from .column_labels import Codes, CodesBuilder
from .names import Strings, StringsBuilder, as_array, encode

# Columns as people call them: of the file, its class, its mask, and the side it is on. What is in
# an image's file lies in a column of these names too.
PATHS = ('path', 'file', 'filename', 'file_name', 'image', 'img', 'image_path', 'filepath')
LABELS = ('label', 'class', 'class_name', 'category', 'target')
MASKS = ('mask', 'mask_path', 'seg_map', 'seg_map_path', 'annotation')
SPLITS = ('split', 'subset', 'set', 'fold')
IMAGES = ('image', 'img', 'image_bytes', 'img_bytes', 'bytes', 'photo', 'picture')
USUAL = dict(path=PATHS, label=LABELS, mask=MASKS, split=SPLITS, image=IMAGES)
# Sides, as people call them.
TRAIN, VAL = ('train', 'training'), ('val', 'valid', 'validation', 'test', 'testing')
# How the cells of a line are told apart, by the ending of the file.
SEPARATORS = {'.csv': ',', '.tsv': '\t'}


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
    lower = {column.strip().lower(): column for column in columns}
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
    try:
        with path.open(encoding='utf-8-sig', newline='') as file:
            if path.suffix.lower() == '.txt':
                check_needed(path, ['path'], dict(path='path'), needed)
                return _read_lines(path, file)
            return _read_cells(path, file, given, needed)
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is not in UTF-8: save it in that encoding') from error
    except csv.Error as error:
        raise ValueError(f'{path} is no table: {error}') from error


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
    path: Path, file: Iterable[str], given: Mapping[str, str | None], needed: Sequence[str]
) -> Table:
    lines = iter(file)
    head = next(lines, '')
    separator = SEPARATORS[path.suffix.lower()]
    if separator not in head and ';' in head:
        # As spreadsheets write it where the comma is that of numbers.
        separator = ';'
    columns = next(csv.reader([head], delimiter=separator), [])
    # What is in an image's file is no text.
    parts = find_columns(path, columns, {'image': None, **given})
    check_needed(path, columns, parts, needed)
    places = {part: columns.index(column) for part, column in parts.items()}
    texts = {part: StringsBuilder() for part in ('path', 'mask') if part in places}
    codes = {part: CodesBuilder() for part in ('label', 'split') if part in places}
    numbers = array('q')
    reader = csv.reader(lines, delimiter=separator)
    for cells in reader:
        # A blank line, as at the end.
        if not any(cells):
            continue
        cell = {p: cells[k].strip() if k < len(cells) else '' for p, k in places.items()}
        number = reader.line_num + 1
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
    """(n,) numbers of the rows on a side: 'train', 'val', by any of their names, or another."""
    wanted = next((names for names in (TRAIN, VAL) if split.lower() in names), (split.lower(),))
    numbers = [n for n, name in enumerate(splits.names or ()) if name.strip().lower() in wanted]
    return np.flatnonzero(np.isin(splits.codes, numbers))


def texts_of(codes: Codes) -> Iterator[str]:
    """The texts of a column, row by row; '' where there is none."""
    for code in codes.codes.tolist():
        if codes.names is None:
            yield str(code)
        else:
            yield codes.names[code] if code >= 0 else ''
