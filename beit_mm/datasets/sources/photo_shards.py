"""Images in tar shards, each read by its place, in any order."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from ...registry import DATASETS
from ..reading.broken_image import BrokenImage
from .finding_shards import Shard, find_shards
from .list_lines import list_lines
from .store_cache import cache_from_environment
from .stores import StoreError, is_url, join, open_whole, read_part, read_range

# Where the bytes of an image in a store come from: a copy of its shard, or the store itself.
FETCHES = ('shards', 'ranges')


@DATASETS.register_module()
class PhotoShards(BaseDataset):
    """Images in tar shards in WebDataset's layout, on the disk or in a store.

    A data set like any other of mmengine's: sample i is the same whenever it is asked for, so that
    samplers, exact resuming and the token cache need to know nothing of shards. A sample has
    ``img_path``, which names shard and member in messages, ``img_bytes``, what is in the member,
    and ``gt_label`` where there are labels. It takes a pipeline that reads ``img_bytes``, as
    :class:`LoadPhoto` and :class:`LoadTwoViews` do.

    Args:
        data_root: A folder of the disk or a store (``s3://bucket/train``); a shard; a pattern such
            as ``http://host/train-{000000..000146}.tar``.
        ann_file: A file, looked for below ``data_root``, with the samples to take, in this order,
            such as ``shard-000000.tar/00000012.jpg``, one a line; with ``with_label`` a space and
            the number of the class may follow, which counts then. '' for all.
        with_label: Whether samples have labels: a ``.cls`` or ``.json`` member each.
        classes: Names of the classes by number; by default those that the set has.
        fetch: Of a store: 'shards' to fetch whole shards into the cache on the disk, 'ranges' to
            ask for each image alone. By default 'shards' if all of them fit into the cache.
            Together with :class:`ShardSampler` 'shards' takes room for two of its windows.
        settings: Those of mmengine's ``BaseDataset``.

    Raises:
        FileNotFoundError: If there is no such folder or shard.
        StoreError: If a store fails.
        ValueError: If there are no shards, one is damaged, or labels are missing.
    """

    METAINFO: dict = {}
    ann_file: str
    data_root: str

    def __init__(
        self,
        data_root: str,
        ann_file: str = '',
        with_label: bool = True,
        classes: Sequence[str] | None = None,
        fetch: str | None = None,
        metainfo: Mapping | None = None,
        **settings: Any,
    ) -> None:
        if fetch not in (None, *FETCHES):
            raise ValueError(f'fetch is {fetch!r}; it must be one of {", ".join(FETCHES)} or None')
        self.with_label, self.fetch = with_label, fetch
        self.shards: list[Shard] = []
        self._numbers: tuple[object, np.ndarray] | None = None
        if classes is not None:
            metainfo = {'classes': tuple(classes), **(metainfo or {})}
        super().__init__(
            data_root=os.path.expanduser(data_root), ann_file=os.path.expanduser(ann_file),
            metainfo=metainfo, data_prefix={}, **settings,
        )  # fmt: skip

    def _join_prefix(self) -> None:
        # mmengine's own knows no more stores than it has backends for.
        if self.ann_file:
            self.ann_file = join(self.data_root, self.ann_file)

    @property
    def CLASSES(self) -> tuple[str, ...] | None:
        """Names of the classes by number, as MMPretrain's data sets call them."""
        return self._metainfo.get('classes')

    def load_data_list(self) -> list[dict]:
        """Find the samples, and log how many there are.

        Returns:
            ``shard``, its number, ``name``, ``place`` (offset, length, CRC-32), and ``gt_label``.
        """
        found = find_shards(self.data_root)
        self.shards = found.shards
        self._choose_fetch()
        if not self.ann_file:
            self.tell(f'{self.data_root}: {found}')
        samples = [
            dict(shard=number, name=sample.name, place=sample[1:4], gt_label=sample.label)
            for number, index in enumerate(found.indexes)
            for sample in index.samples
        ]
        if self.ann_file:
            samples = self._listed(samples)
        if not self.with_label:
            for sample in samples:
                del sample['gt_label']
        else:
            self._number_classes(samples, found.classes)
        return samples

    def tell(self, line: str) -> None:
        """Say what was found."""
        # Processes other than the main one log errors alone.
        print_log(line, 'current')

    def _choose_fetch(self) -> None:
        stored = [shard.size for shard in self.shards if is_url(shard.url)]
        cache = cache_from_environment() if stored else None
        if self.fetch is None:
            self.fetch = 'shards' if cache is not None and sum(stored) <= cache.most else 'ranges'

    def _listed(self, samples: list[dict]) -> list[dict]:
        known = {self._short_name(sample): sample for sample in samples}
        chosen = []
        for _, line in list_lines(self.ann_file):
            name, _, label = line.rpartition(' ') if line not in known else (line, '', '')
            if name not in known:
                raise ValueError(
                    f'{self.ann_file} names {line!r}, which is in none of the shards of '
                    f'{self.data_root}; a name is such as {next(iter(known), "shard.tar/key.jpg")}'
                )
            chosen.append({**known[name], **(dict(gt_label=int(label)) if label else {})})
        return chosen

    def _short_name(self, sample: dict) -> str:
        return f'{os.path.basename(self.shards[sample["shard"]].url)}/{sample["name"]}'

    def _number_classes(self, samples: list[dict], classes: tuple[str, ...] | None) -> None:
        labels = {sample['gt_label'] for sample in samples}
        if None in labels:
            lacking = next(sample for sample in samples if sample['gt_label'] is None)
            raise ValueError(
                f'{self._short_name(lacking)} has no label, a .cls or .json beside it; '
                'with_label=False takes images without'
            )
        names = {label for label in labels if isinstance(label, str)}
        if names and len(names) < len(labels):
            raise ValueError(f'{self.data_root}: some labels are names and some are numbers')
        known = self.CLASSES or classes or (tuple(sorted(names)) if names else None)
        if known is not None:
            self._metainfo['classes'] = tuple(known)
            numbers = {name: number for number, name in enumerate(known)}
            if wrong := [n for n in labels if n not in numbers and n not in range(len(known))]:
                raise ValueError(
                    f'{self.data_root}: there are samples of class {wrong[0]!r}, and the '
                    f'{len(known)} classes are {", ".join(known[:10])}'
                )
            for sample in samples:
                sample['gt_label'] = numbers.get(sample['gt_label'], sample['gt_label'])

    def get_data_info(self, idx: int) -> dict:
        """What is known of a sample without reading it; ``num_bytes`` is the size of the image."""
        info = super().get_data_info(idx)
        info['num_bytes'] = info['place'][1]
        info['img_path'] = f'{self.shards[info["shard"]].url}/{info.pop("name")}'
        return info

    def short_name(self, idx: int) -> str:
        """The name of a sample in ``ann_file``."""
        return self._short_name(super().get_data_info(idx))

    def read_photo(self, idx: int) -> bytes:
        """What is in the file of an image.

        Raises:
            BrokenImage: If the shard is gone, cut off or damaged there, or its store fails.
        """
        return self._read(self.get_data_info(idx))

    def _read(self, info: dict) -> bytes:
        shard, (offset, length, crc32) = self.shards[info['shard']], info['place']
        try:
            if not is_url(shard.url):
                with open(shard.url, 'rb', buffering=0) as file:
                    return read_part(file, shard.url, offset, length, crc32)
            if self.fetch == 'shards':
                kept = open_whole(shard.url, shard.size, shard.version, shard.sha256)
                if kept is not None:
                    with kept:
                        return read_part(kept, shard.url, offset, length, crc32)
            return read_range(shard.url, offset, length, crc32)
        except (FileNotFoundError, StoreError) as error:
            raise BrokenImage(info['img_path'], f'{error}') from error

    def prepare_data(self, idx: int) -> Any:
        """A sample behind the pipeline."""
        info = self.get_data_info(idx)
        info['img_bytes'] = self._read(info)
        del info['shard'], info['place']
        return self.pipeline(info)

    def shard_numbers(self) -> np.ndarray:
        """The number of the shard that each sample lies in, (N,) int64."""
        self.full_init()
        now: Any = self.data_bytes if self.serialize_data else self.data_list
        if self._numbers is None or self._numbers[0] is not now:
            numbers = [BaseDataset.get_data_info(self, i)['shard'] for i in range(len(self))]
            self._numbers = now, np.array(numbers, np.int64)
        return self._numbers[1]

    def get_gt_labels(self) -> np.ndarray:
        """Numbers of the classes, (N,) int64."""
        return np.array([self.get_data_info(i)['gt_label'] for i in range(len(self))])

    def get_cat_ids(self, idx: int) -> list[int]:
        """Number of the class of a sample, for data sets that balance classes."""
        return [int(self.get_data_info(idx)['gt_label'])]
