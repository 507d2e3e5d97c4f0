"""What a file says of the images that its weights were trained on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from .checkpoint_error import CheckpointError
from .folders import INDEX_ENDING, find_weights
from .reading import read_checkpoint
from .sources import locate
from .writing import ABOUT


def read_about(source: str | Path) -> dict[str, Any]:
    """What :func:`beit_mm.checkpoints.writing.write_weights` was told of the weights in a file.

    Args:
        source: As in :func:`beit_mm.checkpoints.read_checkpoint`, which of a .pth file reads all.

    Returns:
        Plain values by name, such as ``images``; nothing of a file that says nothing.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it cannot be read, or what it says is not values by name.
        ImportError: If a package is missing that fetches the source.
    """
    path = locate(source)
    path = find_weights(path) if path.is_dir() else path
    if path.suffix == '.safetensors':
        return _read_metadata(path)
    return {} if path.name.endswith(INDEX_ENDING) else about_in(read_checkpoint(path), str(source))


def about_in(content: object, source: str) -> dict[str, Any]:
    """The same of what :func:`beit_mm.checkpoints.read_checkpoint` has read from a .pth file."""
    meta = content.get('meta') if isinstance(content, Mapping) else None
    about = meta.get(ABOUT, {}) if isinstance(meta, Mapping) else {}
    return _checked(about, source)


def _read_metadata(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such checkpoint')
    try:
        with safe_open(path, 'pt') as file:
            about = json.loads((file.metadata() or {}).get(ABOUT, '{}'))
    except Exception as error:
        raise CheckpointError(f'{path} is damaged or no checkpoint: {error}') from error
    return _checked(about, str(path))


def _checked(about: Any, source: str) -> dict[str, Any]:
    if not isinstance(about, Mapping) or not all(isinstance(name, str) for name in about):
        raise CheckpointError(f'{source}: {ABOUT} is {about!r}; it must be values by name')
    return dict(about)
