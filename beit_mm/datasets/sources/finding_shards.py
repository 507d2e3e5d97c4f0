"""Which shards a folder or store has, and what is in each."""

import contextlib
import io
import json
import os
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from ...checkpoints.writing import write_whole
from ..reading.known_formats import FORMAT_OF, ending_of
from .folder_search import is_folder, is_hidden
from .shard_index import (
    COMPRESSED,
    ENDING,
    MANIFEST,
    ShardIndex,
    from_json,
    read_members,
    to_json,
)
from .store_cache import cache_folder, tell_unwritable
from .stores import (
    Stored,
    exists,
    is_url,
    join,
    list_files,
    look_up,
    open_whole,
    read_bytes,
)

# Indexes that are read at once.
AT_ONCE = 16
# What beit-mm shard leaves in a folder that it has not finished.
UNFINISHED = '.plan.json'


class Shard(NamedTuple):
    """A shard that is there.

    Attributes:
        url: Path, or address with '://'.
        size: In bytes.
        version: Tells it from another under the same name.
        sha256: Of all of it, or ''.
    """

    url: str
    size: int
    version: str
    sha256: str


class Shards(NamedTuple):
    """All shards of a set; prints as one line.

    Attributes:
        shards: In order.
        indexes: What is in each.
        classes: Names by number, where the set says so.
    """

    shards: list[Shard]
    indexes: list[ShardIndex]
    classes: tuple[str, ...] | None

    def __str__(self) -> str:
        images, left_out = 0, Counter[str]()
        for index in self.indexes:
            images += len(index.samples)
            left_out.update(index.left_out)
        told = [f'{count} {kind}' for kind, count in sorted(left_out.items())]
        left = f', left out: {", ".join(told)}' if told else ''
        return f'{images} images in {len(self.shards)} shards{left}'


def is_shards(folder: str | Path) -> bool:
    """Whether a folder of the disk or a store is one of shards.

    It has tar files; on the disk no images beside them, of which they may be a copy.

    Raises:
        StoreError: If a store fails.
    """
    folder = os.fspath(folder)
    if _pattern(folder) or folder.endswith('.tar'):
        return True
    if not is_url(folder) and not os.path.isdir(folder):
        return False
    if exists(join(folder, UNFINISHED)):
        return True
    if is_url(folder):
        return exists(join(folder, MANIFEST)) or bool(list_files(folder, ('.tar',)))
    with os.scandir(folder) as entries:
        found = [e for e in entries if not is_hidden(e.name)]
    tars = [e for e in found if e.name.endswith('.tar')]
    images = [e for e in found if is_folder(e) or ending_of(e.name) in FORMAT_OF]
    return bool(tars) and not images


def find_shards(where: str | Path) -> Shards:
    """Find shards, and what is in each.

    Of shards that ``beit-mm shard`` wrote the indexes are read; others are read from end to end
    once, and what was found is kept in the cache's folder.

    Args:
        where: A folder of the disk or a store; a shard; a pattern such as
            ``http://host/train-{000000..000146}.tar``.

    Raises:
        FileNotFoundError: If there is no such folder or shard.
        StoreError: If a store fails.
        ValueError: If there are no shards, or not all, or one is damaged.
    """
    place = os.fspath(where)
    names = _pattern(place) or ([place] if place.endswith('.tar') else [])
    manifest = None if names else _read_manifest(place)
    if manifest is None:
        files = [look_up(name) for name in names] if names else _listed(place)
        found = [Shard(file.url, file.size, file.version, '') for file in files]
    else:
        found = [
            Shard(join(place, entry['name']), entry['size'], entry['sha256'], entry['sha256'])
            for entry in manifest['shards']
        ]
    if not found:
        raise ValueError(f'{place}: there are no shards, files that end in .tar')
    classes = tuple(manifest['classes']) if manifest and manifest['classes'] else None
    with ThreadPoolExecutor(AT_ONCE) as pool:
        indexes = list(pool.map(_index_of, found))
    return Shards(found, indexes, classes)


def _pattern(place: str) -> list[str]:
    """The names that a pattern with numbers stands for; none if it is no pattern.

    >>> _pattern('train-{08..10}.tar')
    ['train-08.tar', 'train-09.tar', 'train-10.tar']
    """
    found = re.fullmatch(r'(.*)\{(\d+)\.\.(\d+)\}(.*)', place)
    if not found:
        return []
    head, first, last, tail = found.groups()
    numbers = range(int(first), int(last) + 1)
    return [f'{head}{number:0{len(first)}d}{tail}' for number in numbers]


def _read_manifest(folder: str) -> dict | None:
    path = join(folder, MANIFEST)
    if not exists(path):
        if exists(join(folder, UNFINISHED)):
            raise ValueError(
                f'{folder} is not finished: run the beit-mm shard again that writes it, which goes '
                'on where it was stopped'
            )
        return None
    try:
        # Not kept: a folder may be written anew under the same name.
        manifest = json.loads(read_bytes(path, keep=False))
        if not all({'name', 'size', 'sha256'} <= set(shard) for shard in manifest['shards']):
            raise ValueError('its shards lack name, size or sha256')
        manifest.setdefault('classes', None)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f'{path} is no index of shards: {error}') from error
    return manifest


def _listed(folder: str) -> list[Stored]:
    packed = [file.url for file in list_files(folder, COMPRESSED)]
    if packed:
        raise ValueError(
            f'{packed[0]} is compressed, so that no image in it can be read alone: unpack it to '
            'a .tar (images gain nothing by it)'
        )
    return list_files(folder, ('.tar',))


def _index_of(shard: Shard) -> ShardIndex:
    """What is in a shard."""
    if shard.sha256:
        path = f'{shard.url}{ENDING}'
        index = from_json(read_bytes(path, keep=False), path)
        if (index.size, index.sha256) != (shard.size, shard.sha256):
            raise ValueError(f'{path} is of another shard than {MANIFEST} beside it says')
        return index
    kept = _place_of_index(shard)
    with contextlib.ExitStack() as locked:
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            locked.enter_context(FileLock(f'{kept}.lock'))
        except OSError:
            tell_unwritable(kept.parent)
        if kept.is_file():
            return from_json(kept.read_bytes(), str(kept))
        index = _read_through(shard)
        try:
            write_whole(kept, to_json(index))
        except OSError:
            tell_unwritable(kept.parent)
    return index


def _place_of_index(shard: Shard) -> Path:
    name = sha256(f'{os.path.abspath(shard.url) if not is_url(shard.url) else shard.url} '
                  f'{shard.size} {shard.version}'.encode()).hexdigest()  # fmt: skip
    return cache_folder() / 'indexes' / f'{name}{ENDING}'


def _read_through(shard: Shard) -> ShardIndex:
    if not is_url(shard.url):
        with open(shard.url, 'rb') as file:
            return read_members(file, shard.url)
    kept = open_whole(shard.url, shard.size, shard.version)
    with kept or io.BytesIO(read_bytes(shard.url, keep=False)) as file:
        return read_members(file, shard.url)
