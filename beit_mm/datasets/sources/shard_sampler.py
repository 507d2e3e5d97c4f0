"""An order at random that reads few shards at a time."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from ...registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class ShardSampler(Sampler):
    """Every sample once an epoch, from a few shards at a time.

    Shards are shuffled and taken so many at a time, whose samples are shuffled together: a slow
    disk reads along, and a cache on the disk that holds two such windows fetches each shard once
    an epoch. The order is a function of seed and epoch; process r of n takes places r, r + n,
    r + 2 n ... of it, as mmengine's ``DefaultSampler`` does, so that all read the same window.

    Args:
        dataset: With ``shard_numbers()``, such as :class:`PhotoShards`.
        shuffle: Whether to shuffle at all.
        seed: The same in all processes; None to agree on one.
        window: Shards whose samples are shuffled together.
        round_up: Whether samples of the begin come again at the end, so that all processes have
            as many.

    Raises:
        TypeError: If the data set has no shards.
        ValueError: If the window is none.
    """

    def __init__(
        self,
        dataset: Any,
        shuffle: bool = True,
        seed: int | None = None,
        window: int = 8,
        round_up: bool = True,
    ) -> None:
        if window < 1:
            raise ValueError(f'window is {window}; it must be 1 at least')
        if not hasattr(dataset, 'shard_numbers'):
            raise TypeError(
                f'ShardSampler takes a data set of shards, such as beit_mm.PhotoShards, not '
                f'{type(dataset).__name__}; mmengine.DefaultSampler takes any'
            )
        self.rank, self.world_size = get_dist_info()
        self.shard_numbers = dataset.shard_numbers()
        self.seed = sync_random_seed() if seed is None else seed
        self.shuffle, self.window, self.round_up, self.epoch = shuffle, window, round_up, 0
        number = len(self.shard_numbers)
        self.total = math.ceil(number / self.world_size) * self.world_size if round_up else number

    def order(self) -> np.ndarray:
        """All samples in the order of this epoch, (N,) int64."""
        if not self.shuffle:
            return np.arange(len(self.shard_numbers))
        rng = np.random.default_rng((self.seed, self.epoch))
        # The place of each sample's shard, and by it the window.
        place_of = rng.permutation(int(self.shard_numbers.max(initial=-1)) + 1)
        windows = place_of[self.shard_numbers] // self.window
        shuffled = rng.permutation(len(windows))
        return shuffled[np.argsort(windows[shuffled], kind='stable')]

    def __iter__(self) -> Iterator[int]:
        places = np.arange(self.rank, self.total, self.world_size)
        order = self.order()
        return iter(order[places % max(1, len(order))].tolist())

    def __len__(self) -> int:
        return len(range(self.rank, self.total, self.world_size))

    def set_epoch(self, epoch: int) -> None:
        """Choose the pass that comes next."""
        self.epoch = epoch
