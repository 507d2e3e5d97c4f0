"""Files that a command is told to write, looked at before it computes anything for them."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..checkpoints.writing import write_whole
from ..component import ConfigError


def output_file(what: str, out: str | Path, endings: Sequence[str] = ()) -> Path:
    """The file to write.

    Args:
        what: The option that says it.
        out: As the user says.
        endings: That it may have; any without.

    Raises:
        ConfigError: If it has another ending, is a folder, or its folder is not there.
    """
    path = Path(out).expanduser()
    if endings and path.suffix not in endings:
        raise ConfigError(f'{what} is {out}; it must end in {", ".join(endings)}')
    if path.is_dir():
        raise ConfigError(f'{what} is {out}, which is a folder; name the file')
    if not path.resolve().parent.is_dir():
        raise ConfigError(f'{what} is {out}, and there is no folder {path.parent}')
    return path


def write_table(path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write a .csv file that is there as a whole or not at all.

    Args:
        path: Of the file.
        rows: Their cells; the first are the heads.

    Raises:
        OSError: If it cannot be written; one that was there stays.
    """
    text = io.StringIO(newline='')
    csv.writer(text).writerows(rows)
    # Names of files may be bytes that are no text.
    write_whole(path, text.getvalue().encode(errors='backslashreplace'))
