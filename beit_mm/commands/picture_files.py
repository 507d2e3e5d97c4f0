"""What a look leaves: a picture, and beside it what it shows as arrays."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text

from ..checkpoints.writing import written_whole
from .output_files import output_file

DPI = 150


def picture_path(out: str | Path | None, what: str, endings: Sequence[str] = ('.png',)) -> Path:
    """Where a picture goes, before anything is computed for it.

    Args:
        out: As the user says; without, ``work_dirs/look/<what>`` with the first ending.
        what: The look.
        endings: That it may have.

    Raises:
        ConfigError: If it has another ending, is a folder, or its folder is not there.
    """
    if out is None:
        path = Path('work_dirs', 'look', f'{what}{endings[0]}')
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
    return output_file('--out', out, endings)


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
    _take_names_as_they_are(figure)
    with written_whole(beside) as arrays_file, written_whole(path) as picture_file:
        np.savez_compressed(arrays_file, **arrays)
        with warnings.catch_warnings():
            # Letters that no font here has, and one lone patch, are drawn as well as can be.
            warnings.filterwarnings('ignore', 'Glyph|constrained_layout', UserWarning)
            figure.savefig(picture_file, format='png', dpi=DPI)
    print(f'{path}, and what it shows as arrays in {beside.name}')
    return path


def _take_names_as_they_are(figure: Figure) -> None:
    """See to it that names of files and classes are no formulas, as of '$', and are text."""
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            labels = [label.get_text() for label in axis.get_majorticklabels()]
            if (shown := [_as_text(label) for label in labels]) != labels:
                axis.set_ticklabels(shown)
    for text in figure.findobj(Text):
        said = text.get_text()
        # Not the powers of ten of an axis, and what an axis has not written yet.
        if said and '\\mathdefault' not in said:
            text.set_parse_math(False)
            text.set_text(_as_text(said))


def _as_text(name: str) -> str:
    """A name with the bytes that are none in hexadecimal."""
    return name.encode(errors='backslashreplace').decode()
