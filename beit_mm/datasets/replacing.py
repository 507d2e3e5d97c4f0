"""Photos that cannot be decoded: another takes their place, and the sample says so."""

from collections.abc import Mapping

import numpy as np
from mmengine.structures import BaseDataElement

from ..registry import DATASETS
from .reading.broken_image import BrokenImage
from .reading.measuring import look_at
from .sources.photo_source import photo_source
from .sources.stores import StoreError

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
                # All of its bands, at any depth: what of them is wanted is not known here.
                look_at(photo_source(self.dataset, index), 0)
            except FileNotFoundError:
                return path, 'there is no such file'
            except (BrokenImage, StoreError) as found:
                return path, getattr(found, 'reason', f'{found}')
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
