"""``beit-mm shard``: from a folder of images to tar shards."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import Progress, track

from ..component import ConfigError
from ..datasets.finding import list_classes
from ..datasets.reading.known_formats import FORMAT_OF, OF_FOLDERS, ending_of
from ..datasets.reading.opening import split_frame
from ..datasets.sources.column_labels import in_order
from ..datasets.sources.finding_shards import find_shards
from ..datasets.sources.folder_listing import Folder
from ..datasets.sources.folder_search import FolderSearch
from ..datasets.sources.stores import is_url
from ..datasets.sources.verifying_shards import verify_shards
from ..datasets.sources.writing_shards import Plan, plan_shards, write_shards
from .photos import existing_folder, find_and_tell, labels_of

# Of the order in the shards.
SEED = 0
# Names of classes in a line.
SHOWN = 5


class Side(NamedTuple):
    """Images of one folder of shards: '' if there is no other, 'train' or 'val'."""

    name: str
    names: Sequence[str]


def shard(
    source: str | Path,
    out: str | Path | None = None,
    *,
    megabytes: float | None = None,
    images: int | None = None,
    no_labels: bool = False,
    verify: bool = False,
) -> Path:
    """Write the images of a folder into tar shards, or check shards.

    The same images give the same bytes. Stopped and started again, it goes on with the shards that
    are missing.

    Args:
        source: A folder of images, one for each class if there are classes; ``train`` and ``val``
            with such folders, which become ``train`` and ``val`` with shards; or a .csv file with
            the columns path and label, and split if it says who is held out. With ``verify`` and
            without ``out`` shards, in a folder or a store.
        out: Folder to write.
        megabytes: Of the images in a shard, 256 by default.
        images: In a shard, at most, 10,000 by default.
        no_labels: Whether folders are no classes.
        verify: Whether to read all shards and compare their checksums, those in ``out`` after
            they have been written.

    Returns:
        The folder of the shards.

    Raises:
        ConfigError: If there are no images, ``out`` holds something else, a shard is damaged, or an
            option is of shards that are written, and none are.
    """
    if out is None:
        if not verify:
            raise ConfigError('beit-mm shard takes FOLDER and OUT; with --verify one of shards')
        given = {
            '--megabytes': megabytes is not None,
            '--images': images is not None,
            '--no-labels': no_labels,
        }
        if wrong := [name for name, is_given in given.items() if is_given]:
            raise ConfigError(
                f'{" and ".join(wrong)}: of shards that are written, and OUT is not given'
            )
        _verify(str(source))
        return Path(source)
    megabytes = 256 if megabytes is None else megabytes
    images = 10_000 if images is None else images
    if is_url(str(out)):
        raise ConfigError(f'{out}: shards are written to the disk; copy them to the store then')
    out = Path(out).expanduser().resolve()
    root, labels, sides = _images_of(source, no_labels)
    sides = [side._replace(names=_files_of(root, side.names)) for side in sides]
    # As PhotoFolder numbers them, and as numbers in a table stand for themselves.
    is_table = Path(source).expanduser().is_file()
    classes = in_order({*labels.values()}) if is_table else sorted({*labels.values()})
    if is_table and any(c.isdecimal() and int(c) != n for n, c in enumerate(classes)):
        more = ', ...' if len(classes) > SHOWN else ''
        print(
            f'.cls numbers the labels {", ".join(classes[:SHOWN])}{more} from 0 on, in this order'
        )
    plans = {
        side.name: plan_shards(
            root, side.names, labels, classes, images, int(megabytes * 1e6), SEED
        )
        for side in sides
    }
    _write(plans, out)
    total = sum(len(names) for plan in plans.values() for names in plan.shards)
    number = sum(len(plan.shards) for plan in plans.values())
    of_classes = f' of {len(classes)} classes' if classes else ''
    print(f'{out}: {total} images{of_classes} in {number} shards')
    if verify:
        for name in plans:
            _verify(str(out / name))
    return out


def _images_of(source: str | Path, no_labels: bool) -> tuple[Path, dict[str, str], list[Side]]:
    """The folder, name -> class, and what goes into which folder of shards."""
    path = Path(source).expanduser()
    if no_labels and path.is_file():
        raise ConfigError(f'--no-labels is of folders, and {source} is a file')
    root = path if path.is_file() else existing_folder(source)
    labels: dict[str, str] = {}
    if not no_labels and (path.is_file() or list_classes(root)):
        root, labels, sides = labels_of(root, stacks=False)
        loose = [] if path.is_file() else _loose_images(root)
        if len(set(labels.values())) > 1 and not (loose and not sides):
            held_out = {side: [n for n in labels if sides[n] == side] for side in ('train', 'val')
                        } if sides else {'': list(labels)}  # fmt: skip
            return root, labels, [Side(*item) for item in held_out.items()]
        if labels:
            why = f'{loose[0]} lies in none' if loose else 'there are not two'
            print(f'{root}: its folders are taken for no classes, as {why}', file=sys.stderr)
    # A shard holds files as they are, those of stacks too.
    names = find_and_tell(root, stacks=False)
    if not names:
        raise ConfigError(f'{root} has no images')
    return root, {}, [Side('', names)]


def _files_of(root: Path, names: Sequence[str]) -> list[str]:
    """Those of some images that are files, which a shard can hold.

    Raises:
        ConfigError: If one is an image inside of a file.
    """
    for name in names:
        file, frame = split_frame(str(root / name))
        if frame is not None:
            raise ConfigError(f'{name} is one of the images in {file}, and shards hold files')
    kept = [name for name in names if FORMAT_OF.get(ending_of(name)) not in OF_FOLDERS]
    if left := len(names) - len(kept):
        kinds = ', '.join(sorted(OF_FOLDERS))
        print(f'{left} images that are folders ({kinds}) left out', file=sys.stderr)
    return kept


def _loose_images(root: Path) -> list[str]:
    """Names of the images that lie in a folder itself."""
    names = FolderSearch(root).files(str(root), Folder())
    return sorted(name for name in names if FORMAT_OF.get(ending_of(name)) not in OF_FOLDERS)


def _write(plans: dict[str, Plan], out: Path) -> None:
    total = sum(len(names) for plan in plans.values() for names in plan.shards)
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task('Writing', total=total)
        for name, plan in plans.items():
            try:
                for written in write_shards(plan, out / name):
                    bar.advance(task, written)
            except FileExistsError as error:
                raise ConfigError(f'{error}') from error


def _verify(folder: str) -> None:
    """Say which shards are damaged.

    Raises:
        ConfigError: If there is one.
    """
    try:
        found = find_shards(folder)
    except (OSError, ValueError) as error:
        raise ConfigError(f'{error}') from error
    checked = track(
        verify_shards(found), 'Checking', total=len(found.shards), console=Console(stderr=True)
    )
    broken = {name: why for name, why in checked if why}
    for name, why in broken.items():
        print(f'{name}\t{why}')
    if broken:
        raise ConfigError(f'{len(broken)} of {len(found.shards)} shards of {folder} are damaged')
    print(f'{folder}: {found}, all as they were written')
