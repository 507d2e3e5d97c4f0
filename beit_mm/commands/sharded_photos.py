"""What images a set of tar shards holds, on the disk or in a store."""

import sys
from pathlib import Path

from ..component import ConfigError
from ..datasets.sources.finding_shards import is_shards
from ..datasets.sources.photo_shards import PhotoShards
from ..datasets.sources.stores import is_url
from .how_to_read import how_to_read
from .photos import (
    Chooser,
    Photos,
    decodable,
    existing_folder,
    held_out_without_labels,
    hold_out,
    short_side,
)


class _Shards(PhotoShards):
    """Shards that a command looks at, before there is a log."""

    def tell(self, line: str) -> None:
        print(line, file=sys.stderr)


class ShardedPhotos:
    """Images of shards by their names, such as ``shard-000000.tar/00000012.jpg``.

    Args:
        where: A folder of the disk or a store, a shard, or a pattern of shards.

    Raises:
        ConfigError: If there are no shards, or one is damaged.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        try:
            self.dataset = _Shards(where, with_label=False)
        except (OSError, ValueError) as error:
            raise ConfigError(f'{error}') from error
        self.names = [self.dataset.short_name(index) for index in range(len(self.dataset))]
        self.places = {name: index for index, name in enumerate(self.names)}

    def joinpath(self, name: str, /) -> bytes:
        """What is in the file of an image.

        Raises:
            BrokenImage: If it cannot be read.
        """
        return self.dataset.read_photo(self.places[name])

    def __str__(self) -> str:
        return self.where


def find_sharded(folder: str | Path) -> ShardedPhotos | None:
    """The images of shards; None if it is a folder of images.

    Raises:
        ConfigError: If there is no such folder, it is in a store and no shards, or shards are
            damaged.
    """
    where = str(folder) if is_url(str(folder)) else str(Path(folder).expanduser().resolve())
    try:
        found = is_shards(where)
    except OSError as error:
        raise ConfigError(f'{error}') from error
    if found:
        return ShardedPhotos(where)
    if is_url(where):
        raise ConfigError(
            f'{where} has no shards, files that end in .tar; beit-mm shard makes them of a folder'
        )
    existing_folder(folder)
    return None


def sharded_without_labels(folder: str | Path, choose: Chooser = how_to_read) -> Photos | None:
    """All images of shards, some of them held out; None if it is a folder of images.

    Args:
        folder: Of the disk or a store; a shard, or a pattern of shards.
        choose: How they are read.

    Raises:
        ConfigError: See :func:`find_sharded`; or if there are fewer than ten images.
    """
    sharded = find_sharded(folder)
    if sharded is None:
        return None
    names = sharded.names
    if len(names) < 10:
        raise ConfigError(f'{folder} has {len(names)} images; ten is the least to learn from')
    train, val = hold_out(names, held_out_without_labels(len(names)))
    how = choose(sharded, names)
    # What the folder of the run is called by.
    root = Path(sharded.where.split('://')[-1].rstrip('/'))
    val, side = decodable(sharded, val, how), short_side(sharded, names)
    return Photos(root, train, val, {}, side, how, shards=sharded.where)
