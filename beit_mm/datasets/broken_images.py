"""Photos that cannot be decoded: another takes their place, and the sample says so."""

import os
from collections.abc import Mapping

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.structures import BaseDataElement

from ..registry import DATASETS
from .decoding import BrokenImage, decode_image

# So many broken photos in a row are no accident.
MOST_TRIES = 100


@DATASETS.register_module()
class ReplacingDataset:
    """Another dataset, where a random sample takes the place of one whose photo is broken.

    Which one is drawn from NumPy's global generator. The ``data_samples`` of the sample that is
    returned then hold ``broken_images``, pairs of file and reason, which ``BrokenImagesHook``
    counts.

    Whatever the pipeline loads photos with, its error is put down to the photo only if that cannot
    be decoded; others are raised.

    Args:
        dataset: Config of a dataset, or anything with ``[index]`` and ``len``; mmengine's have
            ``get_data_info``, which tells the file.
    """

    def __init__(self, dataset) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, Mapping) else dataset

    def __getitem__(self, index: int):
        broken = []
        while True:
            try:
                sample = self.dataset[index]
            except Exception as error:
                broken.append(self._explain(index, error))
            else:
                return _with_note(sample, broken) if broken else sample
            if len(broken) == MOST_TRIES:
                raise BrokenImage(*broken[-1])
            index = np.random.randint(len(self.dataset))

    def _explain(self, index: int, error: Exception) -> tuple[str, str]:
        """File and reason, or the error itself where the photo is not to blame."""
        if not isinstance(error, BrokenImage):
            if not hasattr(self.dataset, 'get_data_info'):
                raise error
            path = self.dataset.get_data_info(index).get('img_path')
            if path is None:
                raise error
            try:
                decode_image(path)
            except FileNotFoundError:
                return path, 'there is no such file'
            except BrokenImage as found:
                error = found
            else:
                raise error
        return error.path, error.reason

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str):
        # Not while unpickling, when there is no dataset yet.
        if name == 'dataset':
            raise AttributeError(name)
        return getattr(self.dataset, name)


def _with_note(sample: dict, broken: list[tuple[str, str]]) -> dict:
    note = sample.get('data_samples') if isinstance(sample, dict) else None
    if not isinstance(note, BaseDataElement):
        raise BrokenImage(*broken[0])
    note.set_metainfo(dict(broken_images=broken))
    return sample


def read_excluded(path: str) -> set[str]:
    """Files that a list of ``tools/check_images.py`` names: one a line, up to the first tab.

    Raises:
        ValueError: If a line is no path inside the folder that the list is of.
    """
    excluded = set()
    with open(path, encoding='utf-8') as lines:
        for number, line in enumerate(lines, start=1):
            name = line.rstrip('\n').partition('\t')[0]
            if not name or name.startswith('/') or '..' in name.split('/'):
                raise ValueError(
                    f'{path}, line {number}: {name!r} is no path inside the folder; the list is '
                    'one that tools/check_images.py writes'
                )
            excluded.add(name)
    return excluded


@DATASETS.register_module(name='PhotoFolder')
def photo_folder(exclude: str = '', **settings) -> BaseDataset:
    """MMPretrain's ``CustomDataset`` without the photos of a list.

    Args:
        exclude: A list that ``tools/check_images.py`` wrote of the folder ``data_prefix``; '' for
            none.
        settings: Those of ``CustomDataset``.

    Raises:
        ValueError: If the list names files outside of the folder.
    """
    dataset = DATASETS.build(dict(type='mmpretrain.CustomDataset', **settings))
    if exclude:
        dataset.full_init()
        excluded = {os.path.join(dataset.img_prefix, name) for name in read_excluded(exclude)}
        paths = (dataset.get_data_info(index)['img_path'] for index in range(len(dataset)))
        dataset.get_subset_([index for index, path in enumerate(paths) if path not in excluded])
    return dataset
