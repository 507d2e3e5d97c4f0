"""What a look leaves: a picture, and beside it what it shows as arrays."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..checkpoints.writing import partial_path, put_in_place
from ..component import ConfigError

DPI = 150


def picture_path(out: str | Path | None, what: str, endings: Sequence[str] = ('.png',)) -> Path:
    """Where a picture goes, before anything is computed for it.

    Args:
        out: As the user says; without, ``work_dirs/look/<what>`` with the first ending.
        what: The look.
        endings: That it may have.

    Raises:
        ConfigError: If it has another ending, or its folder is not there.
    """
    if out is None:
        path = Path('work_dirs', 'look', f'{what}{endings[0]}')
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
    path = Path(out).expanduser()
    if path.suffix not in endings:
        raise ConfigError(f'--out is {out}; it must end in {", ".join(endings)}')
    if not path.resolve().parent.is_dir():
        raise ConfigError(f'--out is {out}, and there is no folder {path.parent}')
    return path


def write_picture(figure: Figure, path: Path, arrays: Mapping[str, Any]) -> Path:
    """Write a figure, and the arrays that it shows under its name as .npz; each whole or not.

    Args:
        figure: It.
        path: From :func:`picture_path`.
        arrays: Name -> array.

    Returns:
        The path.
    """
    beside = path.with_suffix('.npz')
    with partial_path(beside).open('wb') as file:
        np.savez_compressed(file, **arrays)
    put_in_place(beside)
    with partial_path(path).open('wb') as file:
        figure.savefig(file, format='png', dpi=DPI)
    put_in_place(path)
    print(f'{path}, and what it shows as arrays in {beside.name}')
    return path
