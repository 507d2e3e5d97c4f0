"""What a file says of the network that its weights are of, where no shape does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .about import about_in, read_about
from .run_settings import run_settings


def heads_in(path: Path, content: object) -> int | None:
    """Heads of the blocks, by what this project or the Runner has written beside weights.

    Args:
        path: Of the weights.
        content: What :func:`beit_mm.checkpoints.read_checkpoint` has read from it.

    Returns:
        None where nothing says so.
    """
    about = read_about(path) if path.suffix == '.safetensors' else about_in(content, str(path))
    heads: Any = about.get('num_heads')
    if heads is None:
        model: Any = run_settings(content).get('model')
        for name in ('backbone', 'arch', 'num_heads'):
            model = model.get(name) if isinstance(model, Mapping) else None
        heads = model
    return heads if isinstance(heads, int) and heads > 0 else None
