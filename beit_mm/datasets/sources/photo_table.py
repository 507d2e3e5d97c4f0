"""Images that a list names: a text file, a table, or Parquet with the images in it."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...registry import DATASETS
from .parquet_table import PARQUET, parquet_files, read_parquet_table
from .stores import join
from .table_columns import DELIMITER_OF, Table, read_text_table
from .table_dataset import TableDataset

# How lists end.
TEXTS = ('.txt', *DELIMITER_OF)


def read_table(
    path: str,
    columns: Mapping[str, str | None] | None = None,
    needed: Sequence[str] = ('path',),
) -> Table:
    """A list of images.

    Args:
        path: Ends in .txt, with a path on each line; in .csv or .tsv, with a line of columns; or in
            .parquet, where * in it may stand for a part of the name.
        columns: Which column is what: 'path', 'label', 'mask', 'split', or 'image' with what is in
            the files. What is not named is looked for under the usual names; None is for none.
        needed: Those of them that must be there; 'image' does for 'path'.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is none of these, or a line of it is wrong, which the message names.
    """
    ending = os.path.splitext(path)[1].lower()
    if ending in PARQUET:
        return read_parquet_table(parquet_files(path), columns or {}, needed=needed)
    if ending not in TEXTS:
        raise ValueError(f'{path} must end in one of {", ".join((*TEXTS, *PARQUET))}')
    return read_text_table(Path(path), columns or {}, needed)


@DATASETS.register_module()
class PhotoTable(TableDataset):
    """Images that a list names, see :func:`read_table`.

    Paths are looked for from the folder of the list or, where they are given, from ``data_root``
    and ``data_prefix``.

    Args:
        ann_file: The list, below ``data_root`` if that is given.
        data_root: A folder, or a URL of one.
        data_prefix: Folder of the images below it.
        reduce_zero_label: Of masks, as MMSegmentation has it.
        settings: Those of any list: ``columns``, see :func:`read_table`; ``split``, which side to
            take, 'train' or 'val' by any of their names, or what else the column says, '' for all;
            ``with_label``, whether labels
            are wanted; ``multi_label``, whether images may have several, or what parts these in a
            cell, such as ',', where None lets the list tell by a ';' or '|' in a cell; ``classes``,
            their names in the order of their numbers. And
            those of mmengine's ``BaseDataset``.

    Classes are numbered by all rows, so that both sides of a split agree: in the order of the
    alphabet where they have no order of their own. Whole numbers stand for themselves.

    Raises:
        ValueError: If a line is wrong, which the message names.
    """

    def __init__(
        self,
        ann_file: str,
        data_root: str = '',
        data_prefix: str = '',
        reduce_zero_label: bool = False,
        **settings: Any,
    ) -> None:
        self.reduce_zero_label = reduce_zero_label
        root = os.path.expanduser(data_root)
        ann_file = join(root, os.path.expanduser(ann_file))
        given = join(root, data_prefix) if data_prefix else root
        self.folder = given or os.path.dirname(ann_file)
        super().__init__(ann_file=ann_file, data_root=root, **settings)

    def open_table(self) -> Table:
        """Read the list."""
        needed = ('path', 'label') if self.with_label else ('path',)
        return read_table(self.ann_file, self.columns, needed)

    def located(self, path: str) -> str:
        """Where a file of the list is."""
        return join(self.folder, path)
