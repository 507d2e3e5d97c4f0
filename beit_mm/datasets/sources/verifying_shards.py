"""Whether shards are still what was written."""

import hashlib
from collections.abc import Iterator

from .finding_shards import Shard, Shards
from .shard_index import ShardIndex, read_members
from .stores import PART, is_url, look_up, read_range


def verify_shards(found: Shards) -> Iterator[tuple[str, str]]:
    """Read shards from end to end and hold them against their checksums and indexes.

    Args:
        found: Shards of the disk or a store.

    Yields:
        The name of each, and what is wrong with it or ''.
    """
    for shard, index in zip(found.shards, found.indexes, strict=True):
        try:
            yield shard.url, _wrong(shard, index)
        except (OSError, ValueError) as error:
            yield shard.url, f'{error}'


def _wrong(shard: Shard, index: ShardIndex) -> str:
    size = look_up(shard.url).size
    if size != shard.size:
        return f'it has {size} bytes; the index says {shard.size}'
    if shard.sha256 and (found := _digest(shard)) != shard.sha256:
        return f'its SHA-256 is {found[:12]}...; the index says {shard.sha256[:12]}...'
    if not is_url(shard.url):
        with open(shard.url, 'rb') as file:
            if read_members(file, shard.url).samples != index.samples:
                return 'its members are others than those of the index'
    return ''


def _digest(shard: Shard) -> str:
    digest = hashlib.sha256()
    for begin in range(0, shard.size, PART):
        digest.update(read_range(shard.url, begin, min(PART, shard.size - begin)))
    return digest.hexdigest()
