"""From the rows of a table to the labels of its images: one each, or several."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ..component import ConfigError
from .sources.column_labels import clean, separator_of
from .sources.parquet_table import PARQUET, rows_of_parquet
from .sources.table_columns import (
    DELIMITER_OF,
    LABELS,
    PATHS,
    SPLITS,
    TEST,
    TRAIN,
    VAL,
    find_column,
    open_text,
    read_head,
)

ENDINGS = (*DELIMITER_OF, *PARQUET)
YES, NO = ('1', '1.0', 'true', 'yes'), ('0', '0.0', 'false', 'no', '')
SHOWN = 5
# Of the messages.
TO = dict(train='train', val='validate', test='test')


class TableLabels(NamedTuple):
    """What a table says of its images.

    Attributes:
        labels: Path -> names of its classes.
        sides: Path -> 'train', 'val' or, where there are both of the latter, 'test'; empty where
            the table does not say.
        several: Whether an image may have several, or none.
        said: What was taken for what, a line each.
    """

    labels: dict[str, tuple[str, ...]]
    sides: dict[str, str]
    several: bool
    said: list[str]


def read_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and rows of a table.

    A text as :func:`~beit_mm.datasets.sources.table_columns.open_text` takes it, its columns parted
    by comma, semicolon, tab or '|', by which the first line has a column of paths; or Parquet.

    Raises:
        ConfigError: If it does not end in .csv, .tsv or .parquet, or cannot be read.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise ConfigError(
            f'{path} is a file and no table; it must be a folder, or end in {", ".join(ENDINGS)}'
        )
    try:
        if ending in PARQUET:
            return rows_of_parquet(str(path))
        with open_text(path) as lines:
            columns, reader, _ = read_head(path, lines)
            filled = ([*cells, *[''] * len(columns)] for cells in reader if cells)
            return columns, [dict(zip(columns, cells, strict=False)) for cells in filled]
    except (ValueError, ImportError) as error:
        raise ConfigError(f'{error}') from error


def labels_of_rows(
    path: Path,
    columns: Sequence[str],
    rows: Sequence[Mapping[str, str]],
    multi_label: bool | str | None = None,
) -> TableLabels:
    """The labels of the images in a table.

    A column of labels, whose cells may hold several parted by ';' or '|'; a row for each label of
    an image; or a column of 0 and 1 for each class.

    Args:
        path: The table's, for messages.
        columns: Their names.
        rows: Column -> cell.
        multi_label: Whether images may have several labels, or what parts them in a cell, such as
            ','; None if the table is to tell.

    Raises:
        ConfigError: If a row has no label where each image has one, has several, or is there twice;
            or if there is nothing for a mark to part.
    """
    if multi_label == '':
        raise ConfigError('--multi-label is an empty mark; it must be a mark, or stand alone')
    file_column, label_column = find_column(columns, PATHS), find_column(columns, LABELS)
    rows = [
        # ./1.png is 1.png.
        {**row, file_column: os.path.normpath(row[file_column])}
        for row in rows
        if file_column is not None and row[file_column].strip()
    ]
    yes_or_no = [] if label_column else _columns_of_yes_or_no(columns, rows, file_column)
    if file_column is None or (label_column is None and len(yes_or_no) < 2):
        raise ConfigError(
            f'{path} has the columns {", ".join(columns) or "none"}; it must have path and label, '
            'or path and a column of 0 and 1 for each class'
        )
    split_column = find_column(columns, SPLITS)
    sides = _sides(path, rows, file_column, split_column) if split_column else {}
    if label_column is None and isinstance(multi_label, str):
        raise ConfigError(
            f'--multi-label is the mark {multi_label!r}, and {path} has no column of labels whose '
            'cells it parts: leave the mark out'
        )
    if label_column is None:
        labels, said = _by_columns(columns, rows, file_column, yes_or_no)
        alone = all(len(names) == 1 for names in labels.values())
        several = bool(multi_label) or (not alone and multi_label is None)
    else:
        labels, said = _by_cells(path, rows, file_column, label_column, multi_label)
        several = bool(multi_label) or any(len(names) > 1 for names in labels.values())
    if tests := sum(side == 'test' for side in sides.values()):
        said.append(f'{tests} images for a test are left out, as there are others to validate with')
    if not several and (none := [name for name, names in labels.items() if not names]):
        raise ConfigError(f'{path}: {none[0]} has no {label_column or "label"}')
    if not several and (more := [name for name, names in labels.items() if len(names) > 1]):
        raise ConfigError(f'{path}: {more[0]} has several labels, and multi_label is {multi_label}')
    if several:
        counts = [len(names) for names in labels.values()]
        said.append(
            f'{sum(n > 1 for n in counts)} of {len(counts)} images have several labels, '
            f'{sum(n == 0 for n in counts)} none: each label is learned by itself'
        )
    return TableLabels(labels, sides, several, said)


def _columns_of_yes_or_no(
    columns: Sequence[str], rows: Sequence[Mapping[str, str]], file_column: str | None
) -> list[str]:
    others = [c for c in columns if c not in (file_column, find_column(columns, SPLITS)) and c]
    known = {*YES, *NO}
    return [
        c
        for c in others
        if all(row[c].strip().lower() in known for row in rows) and any(row[c] for row in rows)
    ]


def _by_columns(
    columns: Sequence[str],
    rows: Sequence[Mapping[str, str]],
    file_column: str,
    chosen: Sequence[str],
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    labels: dict[str, tuple[str, ...]] = {}
    for row in rows:
        names = [clean(c) for c in chosen if row[c].strip().lower() in YES]
        labels[row[file_column]] = tuple(dict.fromkeys([*labels.get(row[file_column], ()), *names]))
    said = [f'{len(chosen)} columns of 0 and 1 are the classes: {_few(chosen)}']
    if never := [c for c in chosen if not any(clean(c) in names for names in labels.values())]:
        said.append(f'columns without a 1 are left out: {_few(never)}')
    taken = (file_column, find_column(columns, SPLITS), *chosen)
    if left := [c for c in columns if c not in taken]:
        said.append(f'columns that are not of 0 and 1 are left out: {_few(left)}')
    return labels, said


def _by_cells(
    path: Path,
    rows: Sequence[Mapping[str, str]],
    file_column: str,
    label_column: str,
    multi_label: bool | str | None,
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    said: list[str] = []
    cells = [row[label_column].strip() for row in rows]
    separator = separator_of(cells, multi_label)
    if separator:
        said.append(f'{label_column}: {separator!r} parts the labels of an image')
    found: dict[str, list[tuple[str, ...]]] = {}
    for row, cell in zip(rows, cells, strict=True):
        # Spaces, of which there may be many, part as one.
        parts = cell.split(separator if separator.strip() else None) if separator else [cell]
        names = tuple(dict.fromkeys(name for part in parts if (name := clean(part))))
        found.setdefault(row[file_column], []).append(names)
    repeated = {name: every for name, every in found.items() if len(every) > 1}
    for name, every in repeated.items():
        if len(set(every)) < len(every) or multi_label is False:
            raise ConfigError(f'{path} lists {name} more than once')
    if repeated:
        name, every = next(iter(repeated.items()))
        said.append(
            f'{len(repeated)} images are in several rows, whose labels are put together, such as '
            f'{name}: {_few([label for names in every for label in names])}'
        )
    return {
        name: tuple(dict.fromkeys(label for names in every for label in names))
        for name, every in _whole_numbers(found).items()
    }, said


def _whole_numbers(found: dict[str, list[tuple[str, ...]]]) -> dict[str, list[tuple[str, ...]]]:
    """1.0, 2.0, as a table with a gap makes of 1, 2, where all labels are so."""
    every = {label for rows in found.values() for names in rows for label in names}
    if not every or not all(re.fullmatch(r'\d+\.0', label) for label in every):
        return found
    return {
        name: [tuple(label.removesuffix('.0') for label in names) for names in rows]
        for name, rows in found.items()
    }


def _sides(
    path: Path, rows: Sequence[Mapping[str, str]], file_column: str, split_column: str
) -> dict[str, str]:
    sides: dict[str, str] = {}
    for row in rows:
        name, given = row[file_column], row[split_column].strip().lower()
        if given not in (*TRAIN, *VAL, *TEST):
            raise ConfigError(f'{path}: {split_column} is {given!r}; it must be train or val')
        side = 'train' if given in TRAIN else 'val' if given in VAL else 'test'
        if sides.setdefault(name, side) != side:
            first, second = sorted(TO[each] for each in (side, sides[name]))
            raise ConfigError(f'{path} has {name} both to {first} with and to {second} with')
    # A side for tests is held out where there is no other.
    if 'val' in sides.values():
        return sides
    return {name: 'train' if side == 'train' else 'val' for name, side in sides.items()}


def _few(names: Sequence[str]) -> str:
    return ', '.join(names[:SHOWN]) + (' ...' if len(names) > SHOWN else '')
