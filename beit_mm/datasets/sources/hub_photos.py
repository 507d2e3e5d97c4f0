"""Data sets of Hugging Face's ``datasets``: on the disk, by name, and read from where they lie."""

import os
from collections.abc import Mapping
from typing import Any

from ...component import did_you_mean
from ...registry import DATASETS
from .column_labels import MISSING, Codes, CodesBuilder
from .parquet_table import read_named, read_parquet_table
from .table_columns import USUAL, Table, find_columns
from .table_dataset import TableDataset


@DATASETS.register_module()
class HubPhotos(TableDataset):
    """A data set of Hugging Face's ``datasets``.

    Its columns are found as those of :class:`PhotoTable`; classes have the names that the data set
    has for them. A sample has ``img_bytes``, what is in the image's file, as it is stored.

    Args:
        name: On the hub, such as 'ethz/food101'; a folder that ``save_to_disk`` wrote; or a folder
            of images or of Parquet files.
        split: Such as 'train'; of what is not streamed also 'train[:10%]'. '' where there is one.
        streaming: Whether to read the data set from where it lies and keep no copy. It must be of
            Parquet files, as those of the hub are or have a copy in: ``revision=
            'refs/convert/parquet'``. Row groups are read in any order, so that it has a length,
            resumes and is shuffled as any other does; ``ShardSampler`` reads each once.
        loading: Settings of ``datasets.load_dataset`` or ``load_dataset_builder``, such as
            dict(name='default', revision='main', data_files='*.parquet').
        settings: Those of any list: ``columns``, which column is what: 'image', and 'label', see
            :func:`read_table`; ``with_label``, whether labels
            are wanted; ``multi_label``, whether images may have several, or what parts these in a
            cell, such as ',', where None lets the list tell by a ';' or '|' in a cell; ``classes``,
            their names in the order of their numbers,
            by default the data set's own. And those of mmengine's ``BaseDataset``.

    Raises:
        FileNotFoundError: If there is none of the name.
        ImportError: If ``datasets`` is not installed.
        ValueError: If there is no such split or column.
    """

    def __init__(
        self,
        name: str,
        split: str = 'train',
        streaming: bool = False,
        loading: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        self.name, self.part, self.streaming = os.path.expanduser(name), split, streaming
        self.loading = dict(loading or {})
        # The library chooses the rows.
        super().__init__(split='', **settings)

    @property
    def title(self) -> str:
        """What to call the data set in messages."""
        return f'{self.name}, {self.part}' if self.part else self.name

    def open_table(self) -> Table:
        """Open the data set."""
        try:
            import datasets
        except ImportError as error:
            raise ImportError(
                f"{self.name} takes datasets to be read: pip install 'beit-mm[sources]'"
            ) from error
        return self._stream(datasets) if self.streaming else self._load(datasets)

    def _load(self, datasets: Any) -> Table:
        if os.path.isdir(self.name) and _is_saved(self.name):
            found = datasets.load_from_disk(self.name)
            if isinstance(found, dict):
                found = found[self._one_of(found)]
        else:
            found = datasets.load_dataset(self.name, split=self.part or None, **self.loading)
            if isinstance(found, dict):
                found = found[self._one_of(found)]
        return as_table(found, self.title, self.columns or {})

    def _stream(self, datasets: Any) -> Table:
        builder = datasets.load_dataset_builder(self.name, **self.loading)
        files = builder.config.data_files or {}
        part = self._one_of(files)
        paths = [str(path) for path in files[part]]
        if others := [path for path in paths if not path.endswith('.parquet')]:
            raise ValueError(
                f'{self.name} has {others[0]}: what is streamed must be Parquet files; '
                "loading=dict(revision='refs/convert/parquet') takes the hub's own copy in them, "
                'and streaming=False reads anything'
            )
        features = builder.info.features or {}
        names = {n: f.names for n, f in features.items() if isinstance(f, datasets.ClassLabel)}
        return read_parquet_table(paths, self.columns or {}, names, ('image',))

    def _one_of(self, parts: Mapping[Any, Any]) -> str:
        """The split that is asked for, or the only one."""
        names = {str(part): part for part in parts}
        if self.part in names:
            return names[self.part]
        if not self.part and len(names) == 1:
            return next(iter(names.values()))
        raise ValueError(
            f'split is {self.part!r}, and {self.name} has {", ".join(names) or "none"}'
            f'{did_you_mean(self.part, names)}'
        )


def _is_saved(folder: str) -> bool:
    names = ('dataset_info.json', 'dataset_dict.json')
    return any(os.path.isfile(os.path.join(folder, name)) for name in names)


def as_table(dataset: Any, title: str, columns: Mapping[str, str | None]) -> Table:
    """A ``datasets.Dataset`` as a list of images, which are not decoded.

    Args:
        dataset: It may be a selection of rows.
        title: What to call it in messages.
        columns: See :func:`find_columns`.

    Raises:
        ValueError: If it has no column of images.
    """
    import datasets

    features = dataset.features
    images = [n for n, f in features.items() if isinstance(f, datasets.Image)]
    parts = find_columns(title, list(features), columns)
    column = columns.get('image') or next(iter(sorted(images, key=_unusual)), None)
    if column not in images:
        raise ValueError(
            f'{title} has the columns {", ".join(features)}, and no image; cast one to '
            'datasets.Image'
        )
    bare = dataset.with_format(None).cast_column(column, datasets.Image(decode=False))
    where = NumberedRows(title)
    labels = None
    if 'label' in parts:
        labels = _labels(dataset, parts['label'])
    return Table(
        len(dataset), where, labels=labels, images=HubImages(bare.select_columns([column]), where)
    )


def _unusual(name: str) -> bool:
    return name.lower() not in USUAL['image']


def _labels(dataset: Any, column: str) -> Codes:
    import datasets

    feature = dataset.features[column]
    values = dataset.select_columns([column]).with_format('arrow')[:].column(0)
    if isinstance(feature, datasets.ClassLabel) or str(values.type).startswith(('int', 'uint')):
        names = getattr(feature, 'names', None)
        return Codes(values.fill_null(MISSING).to_numpy(), names, names is not None)
    if str(values.type) not in ('string', 'large_string'):
        raise ValueError(
            f'column {column} is of {values.type}; a label is a text or a whole number, one in a '
            'row'
        )
    codes = CodesBuilder()
    for text in values.to_pylist():
        codes.add(text or '')
    return codes.build()


class NumberedRows:
    """What to call a row in messages.

    Args:
        title: Of the data set.
    """

    def __init__(self, title: str) -> None:
        self.title = title

    def __call__(self, row: int) -> str:
        """Data set and number in it, from 0."""
        return f'{self.title}, row {row}'


class HubImages:
    """What is in the files of images, by row.

    Args:
        dataset: Of one column, of images that are not decoded; it lies mapped on the disk.
        where: What to call a row.
    """

    def __init__(self, dataset: Any, where: NumberedRows) -> None:
        self.dataset, self.where = dataset, where
        [self.column] = dataset.column_names

    def name(self, row: int) -> str:
        """What to call an image."""
        return self.where(row)

    def size(self, row: int) -> int:
        """Bytes of the data set."""
        return self.dataset.data.nbytes

    def __getitem__(self, row: int) -> bytes:
        value = self.dataset[row][self.column]
        if value is None:
            return b''
        return value['bytes'] if value['bytes'] is not None else read_named(value['path'])
