"""Parquet files as a list of images: small columns whole, what is in images row group by group.

A file is a sequence of row groups, of which any can be read alone, from a store too. So an image at
any place can be read, which resuming in mid-epoch, splitting and shuffling need; its whole row
group is read with it and kept for the next one.
"""

import functools
import glob
import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from .column_labels import Codes, CodesBuilder
from .names import Strings, StringsBuilder
from .stores import is_url, tried
from .table_columns import Table, check_needed, find_columns

# How Parquet files end.
PARQUET = ('.parquet', '.pq')
# Row groups that a process keeps, in bytes; the one in use is kept whatever its size.
KEPT = 256 << 20
# Larger row groups make each image cost too much to be of use.
LARGEST_GROUP = 1 << 30
# Files of a store that are asked for their row groups at once.
AT_ONCE = 16


def open_parquet(path: str) -> Any:
    """A ``pyarrow.parquet.ParquetFile`` of the disk or of what else fsspec knows.

    Raises:
        ImportError: If pyarrow, or what the store takes, is not installed.
        StoreError: If a store fails.
        ValueError: If it is none.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            f"{path} takes pyarrow to be read: pip install 'beit-mm[sources]'"
        ) from error
    try:
        if not is_url(path):
            return parquet.ParquetFile(path)
        import fsspec

        return tried(path, lambda: parquet.ParquetFile(fsspec.open(path, 'rb').open()))
    except pa.ArrowInvalid as error:
        raise ValueError(f'{path} is no Parquet file: {error}') from error


def parquet_files(pattern: str) -> list[str]:
    """The files that a path means: one, or those that a pattern with * matches, in order."""
    if is_url(pattern) or not glob.has_magic(pattern) or os.path.exists(pattern):
        return [pattern]
    if not (found := sorted(glob.glob(pattern))):
        raise FileNotFoundError(f'{pattern} matches no file')
    return found


def read_parquet_table(
    files: Sequence[str],
    given: Mapping[str, str | None],
    class_names: Mapping[str, Sequence[str]] | None = None,
    needed: Sequence[str] = ('path',),
) -> Table:
    """The list that Parquet files of the same columns hold.

    Args:
        files: Their paths or URLs.
        given: See :func:`find_columns`.
        class_names: Names of the classes of a column of labels, if somebody knows them; else what
            Hugging Face's ``datasets`` wrote into the file counts.
        needed: Parts that must have a column.

    Raises:
        ValueError: If one has none, or a row has no path or label.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        opened = list(pool.map(open_parquet, files))
    schema = opened[0].schema_arrow
    for path, file in zip(files, opened, strict=True):
        if file.schema_arrow.names != schema.names:
            raise ValueError(f'{path} has other columns than {files[0]}')
    parts = _parts(files[0], schema, given)
    check_needed(files[0], schema.names, parts, needed)
    counts = np.array([f.metadata.num_rows for f in opened], np.int64)
    where = RowNames(files, np.cumsum(counts))
    columns: dict[str, Any] = {}
    names = {**_class_names(schema), **(class_names or {})}
    for part in ('path', 'mask'):
        if part in parts:
            columns[f'{part}s'] = _texts(opened, parts[part], where)
    for part in ('label', 'split'):
        if part in parts:
            columns[f'{part}s'] = _codes(opened, parts[part], names.get(parts[part]), where)
    if 'image' in parts:
        groups = ParquetImages(files, opened, parts['image'], where)
        columns |= dict(images=groups, blocks=groups.blocks())
    return Table(int(counts.sum()), where, **columns)


def rows_of_parquet(path: str) -> tuple[list[str], list[dict[str, str]]]:
    """The columns of a small table and its rows, column -> cell as a text table has it.

    Several values in a cell are parted by ';'; classes have their names.

    Raises:
        ValueError: If the images themselves are in it.
    """
    file = open_parquet(path)
    columns, names = file.schema_arrow.names, _class_names(file.schema_arrow)
    if images := [c for c in columns if _is_image(file.schema_arrow.field(c).type)]:
        raise ValueError(
            f'{path} has the images themselves in {images[0]}, and here files are taken; in a '
            'config beit_mm.PhotoTable takes them'
        )

    def text(column: str, value: Any) -> str:
        if isinstance(value, list):
            return '; '.join(text(column, each) for each in value)
        if column in names and isinstance(value, int):
            return names[column][value] if value >= 0 else ''
        return '' if value is None else str(value)

    rows = file.read().to_pylist()
    return columns, [{c: text(c, row[c]) for c in columns} for row in rows]


class RowNames:
    """What to call a row in messages.

    Args:
        files: Paths.
        ends: (len(files),) int64, before which row each ends.
    """

    def __init__(self, files: Sequence[str], ends: np.ndarray) -> None:
        self.files, self.ends = list(files), ends

    def __call__(self, row: int) -> str:
        """File and number in it, from 0."""
        number = int(self.ends.searchsorted(row, 'right'))
        return f'{self.files[number]}, row {row - (int(self.ends[number - 1]) if number else 0)}'


def _parts(path: str, schema: Any, given: Mapping[str, str | None]) -> dict[str, str]:
    """Which column is what: 'image' and 'path' may bear one name, and differ by what is in them."""
    image = [name for name in schema.names if _is_image(schema.field(name).type)]
    others = [name for name in schema.names if name not in image]
    parts = find_columns(path, others, {p: c for p, c in given.items() if c not in image})
    parts.pop('image', None)
    found = find_columns(path, image, {p: c for p, c in given.items() if p == 'image'})
    if 'image' in found:
        parts['image'] = found['image']
    elif len(image) == 1 and 'image' not in given:
        parts['image'] = image[0]
    return parts


def _is_image(kind: Any) -> bool:
    """Whether a column of this type has what is in images' files."""
    from pyarrow import types

    if types.is_struct(kind):
        return any(kind.field(k).name == 'bytes' for k in range(kind.num_fields))
    return types.is_binary(kind) or types.is_large_binary(kind)


def _class_names(schema: Any) -> dict[str, Sequence[str]]:
    """Names of classes that Hugging Face's ``datasets`` wrote, by column."""
    note = (schema.metadata or {}).get(b'huggingface')
    try:
        features = json.loads(note)['info']['features'] if note else {}
        return {n: f['names'] for n, f in features.items() if f.get('_type') == 'ClassLabel'}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _batches(opened: Sequence[Any], column: str, where: RowNames) -> Iterator[tuple[int, Any]]:
    """(row of the first, array) of a column's values, one part of a file after another."""
    row = 0
    for path, file in zip(where.files, opened, strict=True):
        read = functools.partial(file.read, columns=[column])
        for values in (tried(path, read) if is_url(path) else read()).column(0).chunks:
            yield row, values
            row += len(values)


def _texts(opened: Sequence[Any], column: str, where: RowNames) -> Strings:
    import pyarrow as pa

    texts = StringsBuilder()
    for row, values in _batches(opened, column, where):
        if values.null_count:
            empty = row + int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
            raise ValueError(f'{where(empty)}: there is no {column}')
        values = values.cast(pa.large_string())
        _, ends, data = values.buffers()
        ends = np.frombuffer(ends, np.int64)[values.offset : values.offset + len(values) + 1]
        bytes_ = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
        texts.extend(Strings(bytes_[ends[0] :], ends[1:] - ends[0]), 0, len(values))
    return texts.build()


def _codes(
    opened: Sequence[Any], column: str, names: Sequence[str] | None, where: RowNames
) -> Codes:
    import pyarrow as pa
    from pyarrow import types

    kind = opened[0].schema_arrow.field(column).type
    value = kind.value_type if types.is_dictionary(kind) else kind
    if types.is_integer(value) or types.is_boolean(value):
        parts = []
        for row, values in _batches(opened, column, where):
            if values.null_count:
                empty = row + int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
                raise ValueError(f'{where(empty)}: there is no {column}')
            parts.append(values.cast(pa.int64()).to_numpy().astype(np.int32))
        return Codes(np.concatenate([np.zeros(0, np.int32), *parts]), names, names is not None)
    codes = CodesBuilder()
    if types.is_list(value) and types.is_string(value.value_type):
        for _, values in _batches(opened, column, where):
            for names_of_one in values.to_pylist():
                codes.add(';'.join(names_of_one or ()))
        return codes.build()
    if not (types.is_string(value) or types.is_large_string(value)):
        raise ValueError(
            f'column {column} is of {kind}; a label is a text, a list of texts or a whole number'
        )
    for _, values in _batches(opened, column, where):
        encoded = values.dictionary_encode()
        places = encoded.indices.fill_null(-1).to_numpy().astype(np.int64)
        codes.extend([t or '' for t in encoded.dictionary.to_pylist()], places)
    return codes.build()


class ParquetImages:
    """What is in the files of images, by row.

    Each process opens the files by itself. Row groups that were read last are kept, up to
    :data:`KEPT` bytes: an order that stays in a few at a time reads each once.

    Args:
        files: Paths or URLs.
        opened: The same, opened.
        column: With the bytes, or a struct with ``bytes``, and ``path`` where those are null.
        where: What to call a row.
    """

    def __init__(
        self, files: Sequence[str], opened: Sequence[Any], column: str, where: RowNames
    ) -> None:
        self.files, self.column, self.where = list(files), column, where
        groups = [
            (number, group, file.metadata.row_group(group))
            for number, file in enumerate(opened)
            for group in range(file.metadata.num_row_groups)
        ]
        # (G, 2) int64: file, and number in it; and before which row each ends.
        self.groups = np.array([group[:2] for group in groups], np.int64).reshape(-1, 2)
        self.ends = np.cumsum([group[2].num_rows for group in groups], dtype=np.int64)
        self.sizes = np.array([_size_of(group[2], column) for group in groups], np.int64)
        for (number, _, _), size in zip(groups, self.sizes, strict=True):
            if size > LARGEST_GROUP:
                raise ValueError(
                    f'{files[number]} has a row group of {size >> 20} MiB of images, which has to '
                    f'be read whole for each of them; write it with row_group_size=100'
                )
        self._begin()

    def _begin(self) -> None:
        self.process = os.getpid()
        self.opened: dict[int, Any] = {}
        self.kept: OrderedDict[int, Any] = OrderedDict()

    def __getstate__(self) -> dict:
        return {**vars(self), 'process': 0, 'opened': {}, 'kept': OrderedDict()}

    def name(self, row: int) -> str:
        """What to call an image."""
        return self.where(row)

    def size(self, row: int) -> int:
        """Bytes of the row group of an image; its own are not known without reading it."""
        return int(self.sizes[self.ends.searchsorted(row, 'right')])

    def blocks(self) -> np.ndarray:
        """(N,) int64, the row group of each row."""
        return np.repeat(np.arange(len(self.ends)), np.diff(self.ends, prepend=0))

    def __getitem__(self, row: int) -> bytes:
        group = int(self.ends.searchsorted(row, 'right'))
        begin = int(self.ends[group - 1]) if group else 0
        value = self._group(group)[row - begin].as_py()
        if isinstance(value, dict):
            return value['bytes'] if value['bytes'] is not None else read_named(value.get('path'))
        return value or b''

    def _group(self, group: int) -> Any:
        """The column in a row group."""
        if self.process != os.getpid():
            self._begin()
        if group in self.kept:
            self.kept.move_to_end(group)
            return self.kept[group]
        self.kept[group] = self._read(*self.groups[group].tolist())
        while len(self.kept) > 1 and sum(c.nbytes for c in self.kept.values()) > KEPT:
            self.kept.popitem(last=False)
        return self.kept[group]

    def _read(self, number: int, place: int) -> Any:
        """The column in a row group of a file, which is opened again where a store has failed."""

        def read() -> Any:
            try:
                if number not in self.opened:
                    self.opened[number] = open_parquet(path)
                return self.opened[number].read_row_group(place, columns=[self.column]).column(0)
            except Exception:
                self.opened.pop(number, None)
                raise

        path = self.files[number]
        return tried(path, read) if is_url(path) else read()


def read_named(path: str | None) -> bytes:
    """What is in a file that a row names in the place of its bytes; b'' where it names none."""
    if not path:
        return b''
    with open(path, 'rb') as file:
        return file.read()


def _size_of(group: Any, column: str) -> int:
    chunks = (group.column(k) for k in range(group.num_columns))
    return sum(
        c.total_uncompressed_size for c in chunks if c.path_in_schema.split('.')[0] == column
    )
