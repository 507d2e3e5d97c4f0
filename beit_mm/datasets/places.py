"""What is random about a sample, as a function of the run's seed and the sample's place in it.

mmengine seeds each loader worker once, so a sample depends on the worker that loads it and on all
that the worker has loaded before. Here the sampler hands the place on with the index, and the
generators are seeded from it before the sample is made: which worker or process does it no longer
matters, and a run can begin at any place.
"""

import random
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_dist_info
from mmengine.structures import BaseDataElement
from torch.utils.data import Sampler

from ..registry import DATA_SAMPLERS, DATASETS
from .reading.noted import noted_changes

# What is seeded, the first of the numbers, so that no sample shares a stream with an iteration.
SAMPLE, ITERATION, VALIDATION = 1, 2, 3


def seed_generators(*numbers: int) -> None:
    """Seed Python's, NumPy's and torch's global generators, CUDA's too, from whole numbers.

    Args:
        numbers: At least 0 each, no zeros at the end beyond a fixed amount: NumPy's SeedSequence
            does not see them. Other numbers give unrelated random streams.
    """
    words = np.random.SeedSequence(numbers).generate_state(6)
    random.seed(words[:2].tobytes())
    np.random.seed(words[2:4])
    seed = int(words[4:].view(np.uint64)[0] >> np.uint64(1))
    # torch.manual_seed takes a millisecond where CUDA is not in use: more than an image may.
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


class Place(int):
    """A sample's index, with the numbers that decide its randomness in ``numbers``."""

    numbers: tuple[int, ...]

    def __new__(cls, index: int, numbers: tuple[int, ...] = ()) -> 'Place':
        """An index that knows where its randomness comes from."""
        place = super().__new__(cls, index)
        place.numbers = numbers
        return place

    def __reduce__(self) -> tuple:
        return Place, (int(self), self.numbers)


@DATA_SAMPLERS.register_module()
class PlacedSampler(Sampler):
    """Another sampler's order as a function of seed, epoch and start, each index a :class:`Place`.

    Args:
        sampler: Config of the sampler whose order is taken.
        dataset: What is sampled from.
        seed: The run's; the same in all processes.

    Attributes:
        epoch: Which pass comes next.
        start: Samples of this process to leave out of it.
    """

    def __init__(self, sampler: dict, dataset, seed: int | None = None) -> None:
        self.settings = sampler
        self.dataset = dataset
        self.seed = seed
        self.epoch = self.start = 0
        inner: Any = self._build()
        self.length = len(inner)
        self.endless = isinstance(inner, InfiniteSampler)

    def _build(self) -> Sampler:
        defaults = dict(dataset=self.dataset, seed=self.seed)
        return DATA_SAMPLERS.build(dict(self.settings), default_args=defaults)

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass that comes next."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Place]:
        """Yield from ``start`` on; a sampler that was built anew has no past to depend on."""
        inner, (rank, world_size) = self._build(), get_dist_info()
        if hasattr(inner, 'set_epoch'):
            inner.set_epoch(self.epoch)
        epoch = self.epoch
        for number, index in enumerate(islice(inner, self.start, None), self.start):
            entropy: Any = (SAMPLE, self.seed, epoch, number * world_size + rank)
            yield Place(index, entropy)

    def __len__(self) -> int:
        return self.length


@DATASETS.register_module()
class SeededDataset:
    """Another dataset, each of whose samples is made with generators seeded by its place.

    ``data_samples`` then hold ``place``: what to give :class:`Place` to make the same sample; and
    ``image_changes`` where reading has changed an image in meaning, a kind each, see
    :attr:`beit_mm.datasets.reading.image_file.ImageFile.changes`.

    Args:
        dataset: Config of a dataset, or anything with ``[index]`` and ``len``.
    """

    def __init__(self, dataset) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, Mapping) else dataset

    def __getitem__(self, index: int):
        if not isinstance(index, Place):
            return self.dataset[index]
        seed_generators(*index.numbers)
        with noted_changes() as changes:
            sample = self.dataset[int(index)]
        note = sample.get('data_samples') if isinstance(sample, dict) else None
        if isinstance(note, BaseDataElement):
            note.set_metainfo(dict(place=(int(index), index.numbers)))
            if changes:
                note.set_metainfo(dict(image_changes=changes))
        return sample

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str):
        # Not while unpickling, when there is no dataset yet.
        if name == 'dataset':
            raise AttributeError(name)
        return getattr(self.dataset, name)
