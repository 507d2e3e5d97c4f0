"""What images a folder or a table holds, and which of them are held out."""

import statistics
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ..component import ConfigError, did_you_mean
from ..datasets.finding import Found, find_classes, find_photos, join_classes
from ..datasets.reading.broken_image import BrokenImage
from ..datasets.reading.image_file import Box
from ..datasets.reading.opening import size_of
from ..datasets.sources.column_labels import in_order
from ..datasets.sources.folder_index import INDEX_DIR
from ..datasets.sources.table_columns import TEST, TRAIN, VAL
from ..datasets.stacks import images_in_stacks, unroll
from ..datasets.table_labels import TableLabels, labels_of_rows, read_rows
from .class_names import OF_NAMES, read_names
from .files_of_tables import check_files
from .holding_out import (
    held_out_without_labels,
    hold_out,
    hold_out_several,
    sides_of_stacks,
)
from .how_to_read import HowToRead, Place, how_to_read

# Images whose headers are read to know how large all are.
LOOKED_AT = 200
# Images that are decoded at once, to see whether they can be, and that wait for it.
THREADS, AT_ONCE = 8, 1000
# Pixels along an edge of an image that is looked at.
MOST_DECODED = 4096


class Photos(NamedTuple):
    """Images to learn from.

    Attributes:
        root: The folder.
        train, val: Paths below it.
        labels: Path -> name of its class; empty where nobody knows any.
        short_side: Of the middle image, in pixels.
        how: They are read.
        several: Path -> names of its classes, where an image may have several or none; ``labels``
            is empty then. None where each has one.
        shards: Folder of the disk or a store with the shards that they lie in, or ''.
        inside: What reads these.
    """

    root: Path
    train: Sequence[str]
    val: Sequence[str]
    labels: dict[str, str]
    short_side: int
    how: HowToRead
    several: dict[str, tuple[str, ...]] | None = None
    shards: str = ''
    inside: Place | None = None

    @property
    def lies_in(self) -> Place:
        """What gives an image by its name."""
        return self.inside or self.root

    @property
    def held_out(self) -> list[Path]:
        """Files of the images held out; of shards their names."""
        return [Path(name) if self.inside else self.root / name for name in self.val]

    @property
    def place(self) -> str:
        """Where a data set finds them."""
        return self.shards or str(self.root)

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in order."""
        several = (self.several or {}).values()
        return in_order({*self.labels.values(), *(label for names in several for label in names)})


# Chooses by the place of the images and their names there.
Chooser = Callable[[Place, Sequence[str]], HowToRead]


def photos_without_labels(folder: str | Path, choose: Chooser = how_to_read) -> Photos:
    """All images of a folder and of all folders in it; some are held out to look at.

    Args:
        folder: It.
        choose: How they are read.

    Raises:
        ConfigError: If there is no such folder, or it holds fewer than ten images.
    """
    root = existing_folder(folder)
    found = unroll(root, find_photos(root, INDEX_DIR))
    names = found.names
    if len(names) < 10:
        raise ConfigError(
            f'{root} has {found}; ten is the least to learn from (images are looked for '
            'in all folders inside)'
        )
    _tell(root, found)
    train, val = hold_out(names, held_out_without_labels(len(names)))
    how = choose(root, names)
    return Photos(root, train, decodable(root, val, how), {}, short_side(root, names), how)


def photos_with_labels(
    source: str | Path,
    multi_label: bool | str | None = None,
    choose: Chooser = how_to_read,
) -> Photos:
    """Images of class folders, of ``train`` and ``val`` with class folders, or of a table.

    Where nothing says which images are held out, it is every fifth of a class, drawn by chance.

    Args:
        source: A folder, or a table, see :func:`beit_mm.datasets.table_labels.labels_of_rows`;
            its paths are from its folder.
        multi_label: Of a table, whether images may have several labels, or what parts these; None
            if the table is to tell.
        choose: How they are read.

    Raises:
        ConfigError: If there are not two classes with images on both sides.
    """
    path = Path(source).expanduser()
    if path.is_file():
        root, found = _read_table(path, multi_label)
        if found.several:
            return _photos_of_several(path, root, found, choose(root, [*found.labels]))
        labels, sides = {name: names[0] for name, names in found.labels.items()}, found.sides
    elif multi_label not in (None, False):
        raise ConfigError(f'{source} is a folder; images with several labels are in a table')
    else:
        root = existing_folder(source)
        labels, sides = _read_class_folders(root)
    by_class: dict[str, list[str]] = {}
    for name, label in labels.items():
        by_class.setdefault(label, []).append(name)
    if len(by_class) < 2:
        raise ConfigError(
            f'{path} has images of {len(by_class)} classes; there must be two at least: a folder '
            'of images for each class, or a table with the columns path and label'
        )
    train, val, how = [], [], choose(root, [*labels])
    sides = sides or sides_of_stacks({name: (label,) for name, label in labels.items()})
    for label, names in sorted(by_class.items()):
        if sides:
            parts = [[n for n in names if sides[n] == side] for side in ('train', 'val')]
        else:
            parts = [list(part) for part in hold_out(names, len(names) // 5 or 1)]
        parts[1] = decodable(root, parts[1], how)
        if not parts[0] or not parts[1]:
            raise ConfigError(
                f'class {label!r} has {len(parts[0])} images to train with and {len(parts[1])} to '
                'validate with; there must be one of both'
            )
        train += parts[0]
        val += parts[1]
    return Photos(root, train, val, labels, short_side(root, train), how)


def _photos_of_several(path: Path, root: Path, found: TableLabels, how: HowToRead) -> Photos:
    """Images that may have several labels; every class is on both sides."""
    if sides := found.sides or sides_of_stacks(found.labels):
        train, val = ([n for n in found.labels if sides[n] == s] for s in ('train', 'val'))
    else:
        train, val = hold_out_several(found.labels)
    val = decodable(root, val, how)
    if not train or not val:
        raise ConfigError(
            f'{path} has {len(train)} images to train with and {len(val)} to validate with; there '
            'must be one of both'
        )
    photos = Photos(root, train, val, {}, short_side(root, train), how, found.labels)
    for label in photos.classes:
        counts = [sum(label in found.labels[name] for name in names) for names in (train, val)]
        if not all(counts):
            raise ConfigError(
                f'class {label!r} has {counts[0]} images to train with and {counts[1]} to validate '
                'with; there must be one of both'
            )
    return photos


def labels_of(source: str | Path, stacks: bool) -> tuple[Path, dict[str, str], dict[str, str]]:
    """What a folder or a table says of classes.

    Args:
        source: See :func:`photos_with_labels`.
        stacks: See :func:`find_and_tell`.

    Returns:
        The folder, path below it -> class, and path -> 'train' or 'val' where that is said.

    Raises:
        ConfigError: If there is no such folder or table, or images have several labels.
    """
    path = Path(source).expanduser()
    if not path.is_file():
        root = existing_folder(source)
        return root, *_read_class_folders(root, stacks)
    root, found = _read_table(path, None, stacks)
    if found.several:
        raise ConfigError(f'{path} gives images several labels; shards hold one of each')
    return root, {name: names[0] for name, names in found.labels.items()}, found.sides


def decodable(root: Place, names: Sequence[str], how: HowToRead) -> list[str]:
    """Those of some images that can be decoded; the others are told.

    In training a broken image is replaced by another and counted; what is held out is looked at
    one by one.
    """

    def reason(name: str) -> str | None:
        try:
            # Of what is larger than a screen one corner is looked at.
            with how.reading.open(root.joinpath(name)) as image:
                image.read(Box(0, 0, *(min(edge, MOST_DECODED) for edge in image.size)))
        except (BrokenImage, OSError) as error:
            return str(getattr(error, 'reason', error))
        return None

    kept, left = [], iter(names)
    # What reads shards is not made for several at once.
    with ThreadPoolExecutor(THREADS if isinstance(root, Path) else 1) as pool:
        while some := list(islice(left, AT_ONCE)):
            for name, why in zip(some, pool.map(reason, some), strict=True):
                if why is None:
                    kept.append(name)
                    continue
                said = f'{root}/{name} cannot be decoded: {why}'
                print(f'{said}; left out (beit-mm check {root} finds all such)')
    return kept


def existing_folder(folder: str | Path) -> Path:
    """The folder, absolute.

    Raises:
        ConfigError: If it is not there, with one beside it that has almost its name.
    """
    path = Path(folder).expanduser()
    if path.is_file():
        raise ConfigError(f'{folder} is a file; it must be a folder of images')
    if not path.is_dir():
        beside = path.parent
        known = [p.name for p in beside.iterdir()] if beside.is_dir() else []
        what = 'file' if path.suffix else 'folder'
        raise ConfigError(f'{folder}: there is no such {what}{did_you_mean(path.name, known)}')
    return path.resolve()


def find_and_tell(root: Path, stacks: bool = True) -> Sequence[str]:
    """Paths of the images inside a folder, in order; a line says what was found.

    Args:
        root: The folder.
        stacks: Whether the images of a stack count one by one, or files.
    """
    found = find_photos(root, INDEX_DIR)
    found = unroll(root, found) if stacks else found
    _tell(root, found)
    return found.names


def _tell(folder: Path, found: Found) -> None:
    # Of an empty folder the command says what it misses.
    if found.names or found.left_out:
        print(f'{folder}: {found}', file=sys.stderr)


def short_side(root: Place, names: Sequence[str]) -> int:
    """Short side of the middle one of some of the images; broken ones do not count.

    Raises:
        ConfigError: If none of them can be read.
    """
    sides = []
    for name in names[:: max(1, len(names) // LOOKED_AT)]:
        try:
            sides.append(min(size_of(root.joinpath(name))))
        except (BrokenImage, OSError):
            continue
    if not sides:
        raise ConfigError(f'{root}: of its images none can be read, such as {names[0]}')
    return round(statistics.median(sides))


def _read_class_folders(root: Path, stacks: bool = True) -> tuple[dict[str, str], dict[str, str]]:
    """Path -> class, and path -> 'train' or 'val' where there are such folders.

    Args:
        root: Of the folders.
        stacks: See :func:`find_and_tell`.
    """
    folders = {path.name: path.name.lower() for path in root.iterdir() if path.is_dir()}
    train = next((name for name, lower in folders.items() if lower in TRAIN), None)
    # A side for tests is held out where there is no other.
    others = (*VAL, *TEST)
    held_out = sorted((others.index(low), name) for name, low in folders.items() if low in others)
    labels, sides = {}, {}
    # '' is the folder itself. A class searched by itself keeps images that links put in two.
    for side in (train, held_out[0][1]) if train and held_out else ('',):
        classes = {
            label: unroll(root / side / label, found) if stacks else found
            for label, found in find_classes(root / side, INDEX_DIR).items()
        }
        _tell(root / side, join_classes(root / side, classes))
        for label, found in classes.items():
            for name in found.names:
                path = str(Path(side, label, name))
                labels[path] = label
                if side:
                    sides[path] = 'train' if side == train else 'val'
    if labels and not sides and {label.lower() for label in labels.values()} <= {*TRAIN, *others}:
        raise ConfigError(
            f'{root} has the folders {", ".join(sorted(set(labels.values())))}: of train and val '
            'there must be both, or a folder for each class'
        )
    return labels, sides


def _read_table(
    path: Path, multi_label: bool | str | None, stacks: bool = True
) -> tuple[Path, TableLabels]:
    """The folder of a table, and the labels of the images in it.

    Args:
        path: The table.
        multi_label: See :func:`photos_with_labels`.
        stacks: See :func:`find_and_tell`.
    """
    root = path.resolve().parent
    found = labels_of_rows(path, *read_rows(path), multi_label)
    check_files(path, root, list(found.labels))
    for line in found.said:
        print(f'{path}: {line}')
    found = _with_names(root, found)
    return root, _with_images_of_stacks(path, root, found) if stacks else found


def _with_images_of_stacks(path: Path, root: Path, found: TableLabels) -> TableLabels:
    """What is said of a stack, said of each image in it that has no row of its own."""
    inside = images_in_stacks(root, [*found.labels])
    if not inside:
        return found
    from_row = {image: name for name, images in inside.items() for image in images}
    from_row |= {name: name for name in found.labels if name not in inside}
    print(
        f'{path}: {len(inside)} files hold a stack, whose labels each of its images has: '
        f'{len(from_row)} images'
    )
    return found._replace(
        labels={image: found.labels[name] for image, name in from_row.items()},
        sides={image: found.sides[name] for image, name in from_row.items() if found.sides},
    )


def _with_names(root: Path, found: TableLabels) -> TableLabels:
    """Names in the place of numbers, if a file of names lies beside the table."""
    every = {label for names in found.labels.values() for label in names}
    path = next((root / name for name in OF_NAMES if (root / name).is_file()), None)
    if path is None or not all(label.isdecimal() for label in every):
        return found
    # Tables count from 0 or from 1.
    numbers = sorted(map(int, every)) or [0]
    names, from_0 = read_names(path, first=min(1, numbers[0])), read_names(path)
    # Of lines with numbers both are alike.
    if names != from_0 and numbers[-1] in from_0:
        raise ConfigError(
            f'{path} has {len(names)} names, and the labels are {numbers[0]} to {numbers[-1]}: '
            'its first line may be 0, a class without images, or 1; write the number before each '
            f'name, such as "0 {from_0[0]}" or "1 {from_0[0]}"'
        )
    if missing := [label for label in in_order(every) if int(label) not in names]:
        raise ConfigError(f'{path} has {len(names)} names, and none for the label {missing[0]}')
    print(f'{path} names the classes')
    return found._replace(
        labels={
            file: tuple(names[int(label)] for label in labels)
            for file, labels in found.labels.items()
        }
    )
