"""What data sets of lists share, wherever their images lie."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.logging import print_log

from ..reading.broken_image import BrokenImage
from .column_dataset import ColumnDataset
from .column_labels import Labels, labels_of_column
from .table_columns import Table, rows_of_split


class TableDataset(ColumnDataset):
    """A data set of a :class:`Table`.

    A sample has ``img_path``, the file or, of an image that is no file of its own, what to call it
    in messages; ``img_bytes`` then is what is in it, and ``num_bytes`` the size of that or of what
    it lies in, which tells a list from another. ``gt_label`` is the number of its class, or a list
    of several, if labels are wanted. ``seg_map_path`` is its mask, if the table has masks, with
    what else MMSegmentation asks for: ``seg_fields``, ``label_map`` and ``reduce_zero_label``.

    Args:
        columns: Which column is what, see :func:`find_columns`.
        split: Which rows to take, see :func:`rows_of_split`; '' for all.
        with_label: Whether labels are wanted.
        multi_label: Whether images may have several labels, or what parts these in a cell; None if
            the list is to tell.
        classes: Their names in the order of their numbers.
        settings: Those of mmengine's ``BaseDataset``.
    """

    METAINFO: dict = {}
    # What samples with masks say of them.
    reduce_zero_label = False

    def __init__(
        self,
        columns: Mapping[str, str | None] | None = None,
        split: str = '',
        with_label: bool = True,
        multi_label: bool | str | None = None,
        classes: Sequence[str] | None = None,
        metainfo: Mapping | None = None,
        **settings: Any,
    ) -> None:
        self.columns, self.split = columns, split
        self.with_label, self.multi_label = with_label, multi_label
        if classes is not None:
            metainfo = {'classes': tuple(classes), **(metainfo or {})}
        super().__init__(metainfo=metainfo, data_prefix={}, **settings)

    def _join_prefix(self) -> None:
        # Done by those who know what lies where; mmengine's own knows no more stores than it has
        # backends for.
        pass

    @abstractmethod
    def open_table(self) -> Table:
        """Read the list."""

    @property
    def title(self) -> str:
        """What to call the list in messages."""
        return self.ann_file

    def load_columns(self) -> int:
        """Read the list, and log how many images it has.

        Raises:
            ValueError: If there are none, or a label is missing or no class.
        """
        table = self.table = self.open_table()
        self.labels: Labels | None = None
        if self.with_label:
            if table.labels is None:
                raise ValueError(f'{self.title} has no labels; with_label=False takes it without')
            self.labels = labels_of_column(
                table.labels, self.CLASSES, table.where, self.multi_label
            )
            if self.labels.classes is not None:
                self._metainfo['classes'] = self.labels.classes
        if self.split:
            if table.splits is None:
                raise ValueError(f'split is {self.split!r}, and {self.title} has no such column')
            self.chosen = rows_of_split(table.splits, self.split)
            if not len(self.chosen):
                sides = ', '.join(table.splits.names or ())
                raise ValueError(f'split is {self.split!r}, and {self.title} has {sides}')
        if not len(self.chosen if self.chosen is not None else range(table.rows)):
            raise ValueError(f'{self.title}: there are no images')
        count = table.rows if self.chosen is None else len(self.chosen)
        print_log(f'{self.title}: {count} image{"" if count == 1 else "s"}', 'current')
        return table.rows

    def read_row(self, row: int) -> dict:
        """What a row says."""
        table = self.table
        if table.images is not None:
            info: dict[str, Any] = dict(
                img_path=table.images.name(row), num_bytes=table.images.size(row)
            )
        elif table.paths is not None:
            info = dict(img_path=self.located(table.paths[row]))
        if self.labels is not None:
            info['gt_label'] = self.labels.of_row(row)
        if table.masks is not None:
            info |= dict(
                seg_map_path=self.located(table.masks[row]), seg_fields=[], label_map=None,
                reduce_zero_label=self.reduce_zero_label,
            )  # fmt: skip
        return info

    def located(self, path: str) -> str:
        """Where a file of the list is."""
        return path

    @property
    def read_photo(self) -> Callable[[int], bytes] | None:
        """What gives the bytes of a sample's image; None where they are files of their own."""
        self.full_init()
        return None if self.table.images is None else self._read_photo

    def _read_photo(self, index: int) -> bytes:
        images = self.table.images
        assert images is not None
        row = index if self.chosen is None else int(self.chosen[index])
        try:
            return images[row]
        except OSError as error:
            raise BrokenImage(images.name(row), f'{error}') from error

    def prepare_data(self, idx: int) -> Any:
        """A sample behind the pipeline."""
        info = self.get_data_info(idx)
        if self.read_photo is not None:
            info['img_bytes'] = self.read_photo(info['sample_idx'])
        return self.pipeline(info)

    def shard_numbers(self) -> np.ndarray:
        """(N,) int64, the part of each sample that is read as a whole, for ``ShardSampler``."""
        self.full_init()
        blocks = self.table.blocks
        if blocks is None:
            return np.zeros(len(self), np.int64)
        return blocks if self.chosen is None else blocks[self.chosen]
