"""MMPretrain's data set of a folder, with this project's way to find the images in it."""

import logging
import os
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.logging import print_log
from mmpretrain.datasets import CustomDataset

from .finding import find_classes, find_photos, join_classes
from .sources.column_dataset import ColumnDataset
from .sources.folder_index import INDEX_DIR
from .sources.list_lines import list_lines
from .sources.names import StringsBuilder, as_array, encode
from .stacks import unroll


class FoundPhotos(ColumnDataset, CustomDataset):
    """``CustomDataset`` of a folder's images, or of those that a list names, as ever.

    Args:
        index_dir: Folder of the indices of large folders, see
            :mod:`~beit_mm.datasets.sources.folder_index`; None to use none.
        settings: Those of ``CustomDataset``.
    """

    def __init__(self, index_dir: str | None = INDEX_DIR, **settings) -> None:
        self.index_dir = index_dir
        super().__init__(**settings)

    def load_columns(self) -> int:
        """Find the images, and log how many there are of which kind.

        Raises:
            ValueError: If there are none, or not as many class folders as classes.
        """
        self.names: Sequence[str]
        self.labels: np.ndarray | None = None
        if self.ann_file:
            self._read_list()
        # Of remote storage mmengine lists the files.
        elif '://' in self.img_prefix:
            samples = self.load_data_list()
            self.folder, self.names = '', [sample['img_path'] for sample in samples]
            if self.with_label:
                self.labels = np.array([sample['gt_label'] for sample in samples])
        else:
            self._find()
        return len(self.names)

    def read_row(self, row: int) -> dict:
        """``img_path`` of an image, and ``gt_label`` where labels are wanted."""
        info: dict = dict(img_path=os.path.join(self.folder, self.names[row]))
        if self.labels is not None:
            info['gt_label'] = int(self.labels[row])
        return info

    def _find(self) -> None:
        self.folder = folder = self.img_prefix
        if not self.with_label:
            found = unroll(folder, find_photos(folder, self.index_dir))
        else:
            classes = {
                label: unroll(Path(folder, label), inside)
                for label, inside in find_classes(folder, self.index_dir).items()
            }
            found = join_classes(folder, classes)
        if not found.names:
            where = 'its class folders' if self.with_label else 'it and the folders in it'
            raise ValueError(f'{Path(folder)}: in {where} there are {found}')
        # Processes other than the main one log errors alone.
        print_log(f'{Path(folder)}: {found}', 'current')
        self.names = found.names
        if not self.with_label:
            return
        self._name_classes(folder, list(classes))
        if empty := [label for label, inside in classes.items() if not inside.names]:
            said = f'{Path(folder)}: there are no images of {", ".join(empty)}'
            print_log(said, 'current', logging.WARNING)
        counts = [len(inside.names) for inside in classes.values()]
        self.labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)

    def _read_list(self) -> None:
        """A path on each line, and behind a space the number of its class."""
        self.folder = self.img_prefix
        names, labels = StringsBuilder(), array('q')
        for number, line in list_lines(self.ann_file):
            name = line
            if self.with_label:
                name, _, label = line.strip().rpartition(' ')
                if not name or not label.isdigit():
                    raise ValueError(
                        f'{self.ann_file}, line {number}: {line.strip()!r} is no path with the '
                        'number of its class behind a space'
                    )
                labels.append(int(label))
            names.add(encode(name))
        self.names = names.build()
        if self.with_label:
            self.labels = as_array(labels, np.int64)

    def _name_classes(self, folder: str, labels: list[str]) -> None:
        self.folder_to_idx = {label: number for number, label in enumerate(labels)}
        if self.CLASSES is None:
            self._metainfo['classes'] = tuple(labels)
        elif len(self.CLASSES) != len(labels):
            raise ValueError(
                f'{Path(folder)} has {len(labels)} class folders, and the config names '
                f'{len(self.CLASSES)} classes'
            )
        elif set(self.CLASSES) == set(labels) and list(self.CLASSES) != labels:
            raise ValueError(
                f'{Path(folder)} has the class folders {", ".join(labels)}, which are numbered in '
                f'this order, and the config names the classes {", ".join(self.CLASSES)}: each '
                'would have the name of another'
            )
