"""What images a set of tar shards holds, on the disk or in a store."""

import sys
from pathlib import Path

from ..component import ConfigError
from ..datasets.sources.finding_shards import is_shards
from ..datasets.sources.photo_shards import PhotoShards
from ..datasets.sources.stores import is_url
from .holding_out import held_out_without_labels, hold_out
from .how_to_read import how_to_read
from .photos import (
    Chooser,
    Photos,
    decodable,
    existing_folder,
    photos_with_labels,
    short_side,
)

# Variables of the recipes in ``configs/own`` for images of shards.
SHARDED = dict(dataset='beit_mm.PhotoShards', train_sampler='beit_mm.ShardSampler')


class _Shards(PhotoShards):
    """Shards that a command looks at, before there is a log."""

    def tell(self, line: str) -> None:
        print(line, file=sys.stderr)


class ShardedPhotos:
    """Images of shards by their names, such as ``shard-000000.tar/00000012.jpg``.

    Args:
        where: A folder of the disk or a store, a shard, or a pattern of shards.
        with_label: Whether they have labels.

    Raises:
        ConfigError: If there are no shards, one is damaged, or labels are missing.
    """

    def __init__(self, where: str, with_label: bool = False) -> None:
        self.where = where
        try:
            self.dataset = _Shards(where, with_label=with_label)
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


def find_sharded(folder: str | Path, with_label: bool = False) -> ShardedPhotos | None:
    """The images of shards; None if it is a folder of images, or a table.

    Args:
        folder: See :class:`ShardedPhotos`.
        with_label: Whether they have labels.

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
        return ShardedPhotos(where, with_label)
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


def labelled_photos(
    source: str | Path,
    multi_label: bool | str | None = None,
    choose: Chooser = how_to_read,
) -> Photos:
    """Images with classes, of shards, of folders or of a table.

    Args:
        source, multi_label, choose: See :func:`beit_mm.commands.photos.photos_with_labels` and
            :func:`sharded_with_labels`.

    Raises:
        ConfigError: See there; or if shards are to give images several labels.
    """
    sharded = sharded_with_labels(source, choose)
    if sharded is None:
        return photos_with_labels(source, multi_label, choose)
    if multi_label not in (None, False):
        raise ConfigError(
            f'--multi-label is given, and {source} has shards, whose images have one label each; '
            'images with several are in a table'
        )
    return sharded


def sharded_with_labels(source: str | Path, choose: Chooser = how_to_read) -> Photos | None:
    """Images of shards with the classes that these give them; None if it is no set of shards.

    Every fifth of a class is held out, drawn by chance.

    Args:
        source: Of the disk or a store; a shard, or a pattern of shards.
        choose: How they are read.

    Raises:
        ConfigError: See :func:`find_sharded`; or if a class has no image on both sides.
    """
    path = Path(source).expanduser()
    if not is_url(str(source)) and path.is_file() and path.suffix != '.tar':
        return None
    if all(is_shards(path / side) for side in ('train', 'val')):
        raise ConfigError(
            f'{source} has shards in train and in val: train on those by a config with '
            'beit_mm.PhotoShards, or give one of the folders, of which a fifth is held out'
        )
    sharded = find_sharded(source, with_label=True)
    if sharded is None:
        return None
    # None where all labels are numbers.
    classes = sharded.dataset.CLASSES
    numbers = {
        name: sharded.dataset.get_data_info(place)['gt_label']
        for name, place in sharded.places.items()
    }
    labels = {name: str(classes[n] if classes else n) for name, n in numbers.items()}
    by_class: dict[str, list[str]] = {}
    for name, label in labels.items():
        by_class.setdefault(label, []).append(name)
    how = choose(sharded, sharded.names)
    train: list[str] = []
    val: list[str] = []
    for label, names in sorted(by_class.items()):
        some, held_out = hold_out(names, len(names) // 5 or 1)
        kept = decodable(sharded, held_out, how)
        if not some or not kept:
            raise ConfigError(f'class {label!r} has {len(names)} images; two is the least')
        train += some
        val += kept
    root = Path(sharded.where.split('://')[-1].rstrip('/'))
    side = short_side(sharded, sharded.names)
    return Photos(root, train, val, labels, side, how, shards=sharded.where, inside=sharded)
