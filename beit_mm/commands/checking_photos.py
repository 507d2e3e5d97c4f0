"""``beit-mm check``: which images cannot be decoded."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.progress import track

from ..datasets.broken_photos import check_photos
from .photos import existing_folder, find_and_tell


def check(
    folder: str | Path, list: str | Path | None = None, *, workers: int | None = None
) -> dict[str, str]:
    """Find the images of a folder that cannot be decoded.

    Args:
        folder: Images, in it and in all folders inside.
        list: File to write, for ``exclude`` of a data set: a line an image, its path inside the
            folder, a tab, what is wrong.
        workers: Processes; one a core by default.

    Returns:
        Path inside the folder -> what is wrong.

    Raises:
        ConfigError: If there is no such folder.
    """
    root = existing_folder(folder)
    names = find_and_tell(root)
    checked = check_photos(root, names, workers or os.cpu_count())
    broken = {name: why for name, why in _with_bar(checked, len(names)) if why}
    for name, why in broken.items():
        print(f'{name}\t{why}')
    if list is not None:
        lines = ''.join(f'{name}\t{why}\n' for name, why in broken.items())
        Path(list).write_text(lines, 'utf-8')
    print(f'{len(broken)} of {len(names)} photos cannot be decoded', file=sys.stderr)
    return broken


def _with_bar(checked: Iterable, total: int) -> Iterable:
    return track(checked, 'Decoding', total=total, console=Console(stderr=True))
