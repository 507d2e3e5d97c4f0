"""What images a folder holds, and which of them are held out."""

import csv
import random
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ..component import ConfigError, did_you_mean
from ..datasets.decoding import decode_image
from ..datasets.finding import Found, find_classes, find_photos, join_classes
from ..datasets.reading.broken_image import BrokenImage

# Images whose headers are read to know how large all are.
LOOKED_AT = 200
# Without labels: to look at, and for figures.
MOST_HELD_OUT = 200
# Columns of a table: of the file, of its class, of the side it is on.
PATHS = ('path', 'file', 'filename', 'file_name', 'image', 'img', 'image_path')
LABELS = ('label', 'class', 'class_name', 'category', 'target')
SPLITS = ('split', 'subset', 'set', 'fold')
# Sides, as people call them.
TRAIN, VAL = ('train', 'training'), ('val', 'valid', 'validation', 'test', 'testing')


class Photos(NamedTuple):
    """Images to learn from.

    Attributes:
        root: The folder.
        train, val: Paths below it.
        labels: Path -> name of its class; empty where nobody knows any.
        short_side: Of the middle image, in pixels.
        shards: Folder of the disk or a store with the shards that they lie in, or ''.
    """

    root: Path
    train: list[str]
    val: list[str]
    labels: dict[str, str]
    short_side: int
    shards: str = ''

    @property
    def place(self) -> str:
        """Where a data set finds them."""
        return self.shards or str(self.root)

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in order."""
        return sorted(set(self.labels.values()))


def photos_without_labels(folder: str | Path) -> Photos:
    """All images of a folder and of all folders in it; some are held out to look at.

    Raises:
        ConfigError: If there is no such folder, or it holds fewer than ten images.
    """
    root = existing_folder(folder)
    found = find_photos(root)
    names = found.names
    if len(names) < 10:
        raise ConfigError(
            f'{root} has {found}; ten is the least to learn from (what Pillow reads is looked for, '
            'in all folders inside)'
        )
    _tell(root, found)
    train, val = hold_out(names, held_out_without_labels(len(names)))
    return Photos(root, train, decodable(root, val), {}, short_side(root, names))


def photos_with_labels(source: str | Path) -> Photos:
    """Images of class folders, of ``train`` and ``val`` with class folders, or of a table.

    Where nothing says which images are held out, it is every fifth of a class, drawn by chance.

    Args:
        source: A folder, or a .csv file with a column of paths, from the file's folder, and one of
            classes.

    Raises:
        ConfigError: If there are not two classes with images on both sides.
    """
    path = Path(source).expanduser()
    root, labels, sides = labels_of(path)
    by_class: dict[str, list[str]] = {}
    for name, label in labels.items():
        by_class.setdefault(label, []).append(name)
    if len(by_class) < 2:
        raise ConfigError(
            f'{path} has images of {len(by_class)} classes; there must be two at least: a folder '
            'of images for each class, or a table with the columns path and label'
        )
    train, val = [], []
    for label, names in sorted(by_class.items()):
        if sides:
            parts = [[n for n in names if sides[n] == side] for side in ('train', 'val')]
        else:
            parts = list(hold_out(names, len(names) // 5 or 1))
        parts[1] = decodable(root, parts[1])
        if not parts[0] or not parts[1]:
            raise ConfigError(
                f'class {label!r} has {len(parts[0])} images to train with and {len(parts[1])} to '
                'validate with; there must be one of both'
            )
        train += parts[0]
        val += parts[1]
    return Photos(root, train, val, labels, short_side(root, train))


def labels_of(source: str | Path) -> tuple[Path, dict[str, str], dict[str, str]]:
    """What a folder or a table says of classes.

    Args:
        source: See :func:`photos_with_labels`.

    Returns:
        The folder, path below it -> class, and path -> 'train' or 'val' where that is said.

    Raises:
        ConfigError: If there is no such folder or table, or the table cannot be read.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return _read_table(path)
    root = existing_folder(source)
    return root, *_read_class_folders(root)


def decodable(root: Path, names: Sequence[str]) -> list[str]:
    """Those of some images that can be decoded; the others are told.

    In training a broken image is replaced by another and counted; what is held out is looked at
    one by one.
    """
    kept = []
    for name in names:
        try:
            decode_image(root / name)
            kept.append(name)
        except BrokenImage as error:
            print(f'{error}; left out (beit-mm check {root} finds all such)')
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


def find_and_tell(root: Path) -> list[str]:
    """Paths of the images inside a folder, in order; a line says what was found."""
    found = find_photos(root)
    _tell(root, found)
    return found.names


def _tell(folder: Path, found: Found) -> None:
    # Of an empty folder the command says what it misses.
    if found.names or found.left_out:
        print(f'{folder}: {found}', file=sys.stderr)


def held_out_without_labels(count: int) -> int:
    """How many of so many images are held out where nobody knows a class."""
    return max(5, min(MOST_HELD_OUT, count // 20))


def hold_out(names: Sequence[str], count: int) -> tuple[list[str], list[str]]:
    """The names without so many, drawn by chance but always the same, and those; both in order."""
    held_out = set(random.Random(0).sample(list(names), count))
    return [n for n in names if n not in held_out], [n for n in names if n in held_out]


def short_side(root: Path, names: Sequence[str]) -> int:
    """Short side of the middle one of some of the images; broken ones do not count.

    Raises:
        ConfigError: If none of them can be read.
    """
    sides = []
    for name in names[:: max(1, len(names) // LOOKED_AT)]:
        try:
            with Image.open(root / name) as image:
                sides.append(min(image.size))
        except OSError:
            continue
    if not sides:
        raise ConfigError(f'{root}: of its images none can be read, such as {names[0]}')
    return round(statistics.median(sides))


def _read_class_folders(root: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Path -> class, and path -> 'train' or 'val' where there are such folders."""
    folders = {path.name: path.name.lower() for path in root.iterdir() if path.is_dir()}
    train = next((name for name, lower in folders.items() if lower in TRAIN), None)
    # A side for tests is held out where there is no other.
    held_out = sorted((VAL.index(lower), name) for name, lower in folders.items() if lower in VAL)
    labels, sides = {}, {}
    # '' is the folder itself. A class searched by itself keeps images that links put in two.
    for side in (train, held_out[0][1]) if train and held_out else ('',):
        classes = find_classes(root / side)
        _tell(root / side, join_classes(root / side, classes))
        for label, found in classes.items():
            for name in found.names:
                path = str(Path(side, label, name))
                labels[path] = label
                if side:
                    sides[path] = 'train' if side == train else 'val'
    if labels and not sides and {label.lower() for label in labels.values()} <= {*TRAIN, *VAL}:
        raise ConfigError(
            f'{root} has the folders {", ".join(sorted(set(labels.values())))}: of train and val '
            'there must be both, or a folder for each class'
        )
    return labels, sides


def _read_table(path: Path) -> tuple[Path, dict[str, str], dict[str, str]]:
    """The folder of a .csv file, path -> class, and path -> 'train' or 'val' if it says so."""
    root = path.resolve().parent
    with _readable(path).open(encoding='utf-8-sig', newline='') as file:
        reader = csv.DictReader(file)
        columns = list(reader.fieldnames or [])
        file_column, label_column = _column(columns, PATHS), _column(columns, LABELS)
        split_column = _column(columns, SPLITS)
        if file_column is None or label_column is None:
            raise ConfigError(
                f'{path} has the columns {", ".join(columns) or "none"}; it must have path and '
                'label'
            )
        rows = [row for row in reader if row[file_column]]
    for row in rows:
        if not (row[label_column] or '').strip():
            raise ConfigError(f'{path}: {row[file_column]} has no {label_column}')
    if twice := [n for n, k in Counter(row[file_column] for row in rows).items() if k > 1]:
        raise ConfigError(f'{path} lists {twice[0]} more than once')
    missing = [row[file_column] for row in rows if not (root / row[file_column]).is_file()]
    if missing:
        raise ConfigError(
            f'{path} names {missing[0]}, which is not in {root} ({len(missing)} of {len(rows)} '
            'are not): paths are looked for from the folder of the table'
        )
    labels = {row[file_column]: row[label_column].strip() for row in rows}
    sides = {}
    if split_column is not None:
        for row in rows:
            side = (row[split_column] or '').strip().lower()
            if side in TRAIN:
                sides[row[file_column]] = 'train'
            elif side in VAL:
                sides[row[file_column]] = 'val'
            else:
                raise ConfigError(f'{path}: {split_column} is {side!r}; it must be train or val')
    return root, labels, sides


def _readable(path: Path) -> Path:
    """The table, if it is one.

    Raises:
        ConfigError: If it does not end in .csv or is not in UTF-8.
    """
    if path.suffix.lower() != '.csv':
        raise ConfigError(f'{path} is a file and no table; it must be a folder, or end in .csv')
    try:
        path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise ConfigError(f'{path} is not in UTF-8: save it in that encoding') from error
    return path


def _column(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The column that has one of these names, whatever its case."""
    lower = {column.strip().lower(): column for column in columns}
    return next((lower[name] for name in names if name in lower), None)
