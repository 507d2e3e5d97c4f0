"""The names in a table, held against the files that are there."""

from collections.abc import Sequence
from pathlib import Path

from ..component import ConfigError, did_you_mean
from ..datasets.reading.opening import split_frame
from ..datasets.sources.folder_search import UNLISTABLE


def check_files(path: Path, root: Path, names: Sequence[str]) -> None:
    """See to it that each name is a file's, and one that a list can hold.

    Args:
        path: Of the table.
        root: The folder that its paths begin in.
        names: Of images, with the place in a stack where they have one.

    Raises:
        ConfigError: If one is not; it says which name is almost it.
    """
    missing = [name for name in names if not Path(split_frame(str(root / name))[0]).exists()]
    if missing:
        raise ConfigError(
            f'{path} names {missing[0]}, which is not in {root} ({len(missing)} of '
            f'{len(names)} are not): paths are looked for from the folder of the table'
            f'{_almost(root, missing[0])}'
        )
    if broken := [name for name in names if UNLISTABLE.search(name)]:
        raise ConfigError(
            f'{path} names {broken[0]!r}, with a line break or another control character in it '
            f'({len(broken)} of {len(names)} have one): rename the file, as lists are texts'
        )


def _almost(root: Path, name: str) -> str:
    """A question with the file that is called so but for its ending, its case or Windows' mark."""
    posix = name.replace('\\', '/')
    given = root / posix
    if posix != name and given.exists():
        return f'; did you mean {posix!r}?'
    if not given.parent.is_dir():
        return ''
    # Tables have names in another case, and names without what files end in.
    wanted = {given.name.lower(), given.stem.lower()}
    alike = [p.name for p in given.parent.iterdir() if {p.name.lower(), p.stem.lower()} & wanted]
    return did_you_mean(given.name, alike, at_least=0)
