"""Files that a command is told to write, looked at before it computes anything for them."""

from collections.abc import Sequence
from pathlib import Path

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
