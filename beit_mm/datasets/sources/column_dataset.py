"""mmengine's data set with its samples in columns, for lists of many millions.

mmengine keeps a dict of each sample, pickled: making them takes a list of dicts first, a kilobyte a
sample. Here a sample's dict is made when it is asked for, from columns that take what their bytes
take. The arrays are shared by the loader's workers, as mmengine's are.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.dataset.base_dataset import force_full_init


class ColumnDataset(BaseDataset, ABC):
    """A data set that reads one sample at a time from what :meth:`load_columns` has opened.

    ``indices``, ``get_subset``, ``ConcatDataset`` and the other wrappers of mmengine work as ever;
    ``serialize_data`` makes no difference.
    """

    # Which rows are samples, and in what order; None for all.
    chosen: np.ndarray | None = None
    _fully_initialized: bool

    @abstractmethod
    def load_columns(self) -> int:
        """Open the columns; return how many rows there are."""

    @abstractmethod
    def read_row(self, row: int) -> dict:
        """What a row says of its sample, such as ``img_path`` and ``gt_label``; a new dict."""

    @property
    def CLASSES(self) -> Sequence[str] | None:
        """Names of the classes, if they are known, as MMPretrain asks for them."""
        return self._metainfo.get('classes')

    def full_init(self) -> None:
        """Open the columns, if that was not done yet."""
        if self._fully_initialized:
            return
        self.rows = self.load_columns()
        self._fully_initialized = True
        if self._indices is not None:
            self.chosen = self._rows_of(self._indices)

    @force_full_init
    def __len__(self) -> int:
        return self.rows if self.chosen is None else len(self.chosen)

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        """What is known of a sample, with its place as ``sample_idx``.

        Raises:
            IndexError: If there is none at that place.
        """
        place = int(idx) + len(self) if idx < 0 else int(idx)
        if not 0 <= place < len(self):
            raise IndexError(f'there are {len(self)} samples, and number {idx} is asked for')
        info = self.read_row(place if self.chosen is None else int(self.chosen[place]))
        info['sample_idx'] = place
        return info

    def get_cat_ids(self, idx: int) -> list[int]:
        """The label of a sample, as ``ClassBalancedDataset`` asks for it."""
        label = self.get_data_info(idx)['gt_label']
        return [int(label)] if np.ndim(label) == 0 else [int(each) for each in label]

    def get_gt_labels(self) -> np.ndarray:
        """The labels of all samples, (N,) int64, of data sets with one each."""
        return np.array([self.get_data_info(place)['gt_label'] for place in range(len(self))])

    def _rows_of(self, indices: int | Sequence[int]) -> np.ndarray:
        rows = np.arange(self.rows) if self.chosen is None else self.chosen
        if isinstance(indices, int):
            return rows[:indices] if indices >= 0 else rows[indices:]
        return rows[np.asarray(indices, np.int64)]

    @force_full_init
    def get_subset_(self, indices: int | Sequence[int]) -> None:
        """Keep some samples: the first or, below 0, last so many, or those at places."""
        self.chosen = self._rows_of(indices)

    @force_full_init
    def get_subset(self, indices: int | Sequence[int]) -> 'ColumnDataset':
        """A data set of some of the samples, see :meth:`get_subset_`; columns are shared."""
        subset = copy.copy(self)
        subset._metainfo, subset.pipeline = copy.deepcopy((self._metainfo, self.pipeline))
        subset.chosen = self._rows_of(indices)
        return subset
