"""What images a set of tar shards holds, on the disk or in a store."""

import io
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ..component import ConfigError
from ..datasets.decoding import decode_image
from ..datasets.reading.broken_image import BrokenImage
from ..datasets.sources.finding_shards import is_shards
from ..datasets.sources.photo_shards import PhotoShards
from ..datasets.sources.stores import is_url
from .photos import LOOKED_AT, Photos, existing_folder, held_out_without_labels, hold_out


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

    def source(self, name: str) -> bytes:
        """What is in the file of an image.

        Raises:
            BrokenImage: If it cannot be read.
        """
        return self.dataset.read_photo(self.places[name])

    def decodable(self, names: Sequence[str]) -> list[str]:
        """Those of some images that can be decoded; the others are told."""
        kept = []
        for name in names:
            try:
                decode_image(self.source(name))
                kept.append(name)
            except BrokenImage as error:
                print(f'{self.where}/{name} cannot be decoded: {error.reason}; left out')
        return kept

    def short_side(self) -> int:
        """Short side of the middle one of some of the images, in pixels.

        Raises:
            ConfigError: If none of them can be read.
        """
        sides = []
        for name in self.names[:: max(1, len(self.names) // LOOKED_AT)]:
            try:
                with Image.open(io.BytesIO(self.source(name))) as image:
                    sides.append(min(image.size))
            except (BrokenImage, OSError):
                continue
        if not sides:
            raise ConfigError(f'{self.where}: of its images none can be read')
        return round(statistics.median(sides))


def find_sharded(folder: str | Path) -> ShardedPhotos | None:
    """The images of shards; None if it is a folder of images.

    Raises:
        ConfigError: If it is in a store and no shards, or shards that are damaged.
    """
    where = str(folder) if is_url(str(folder)) else str(Path(folder).expanduser().resolve())
    try:
        found = is_shards(where)
    except OSError as error:
        raise ConfigError(f'{error}') from error
    if not found and is_url(where):
        raise ConfigError(
            f'{where} has no shards, files that end in .tar; beit-mm shard makes them of a folder'
        )
    return ShardedPhotos(where) if found else None


def sharded_without_labels(folder: str | Path) -> Photos | None:
    """All images of shards, some of them held out; None if it is a folder of images.

    Raises:
        ConfigError: See :func:`find_sharded`; or if there are fewer than ten images.
    """
    sharded = find_sharded(folder)
    if sharded is None:
        existing_folder(folder)
        return None
    names = sharded.names
    if len(names) < 10:
        raise ConfigError(f'{folder} has {len(names)} images; ten is the least to learn from')
    train, val = hold_out(names, held_out_without_labels(len(names)))
    root = Path(sharded.where.split('://')[-1].rstrip('/'))
    return Photos(root, train, sharded.decodable(val), {}, sharded.short_side(), sharded.where)
