"""How a run read its images, by the config that its checkpoint carries as text."""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .reading import read_checkpoint

# Arguments of a pipeline's steps that say how large the image is that comes out.
SIZES = ('second_size', 'crop_size', 'size', 'scale')
READING = ('bands', 'value_range', 'no_data')


class TrainedImages(NamedTuple):
    """Images of a run.

    Attributes:
        size: Height and width of what the network saw; None if nothing says so.
        reading: What there is of ``bands``, ``value_range`` and ``no_data``, see
            :class:`beit_mm.datasets.LoadPhoto`.
    """

    size: int | None
    reading: dict[str, Any]


def trained_images(path: str | Path) -> TrainedImages:
    """How the images were read that a checkpoint of the Runner was validated on.

    Args:
        path: As in :func:`beit_mm.checkpoints.read_checkpoint`. Of files without a config, and of
            configs without such images, nothing is known.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it cannot be read.
    """
    content = read_checkpoint(path)
    meta = content.get('meta') if isinstance(content, Mapping) else None
    text = meta.get('cfg') if isinstance(meta, Mapping) else None
    dataset = values_in(text if isinstance(text, str) else '').get('val_dataloader')
    # Of the loader the data set, of one that wraps another that one.
    while isinstance(dataset, Mapping) and 'pipeline' not in dataset:
        dataset = dataset.get('dataset')
    steps = dataset['pipeline'] if isinstance(dataset, Mapping) else None
    size, reading = None, dict[str, Any]()
    for step in steps if isinstance(steps, (list, tuple)) else ():
        if isinstance(step, Mapping):
            sizes = (step[name] for name in SIZES if name in step)
            size = _side(next(sizes, None)) or size
            reading.update({n: step[n] for n in READING if step.get(n) is not None})
    return TrainedImages(size, reading)


def values_in(text: str) -> dict[str, Any]:
    """Assignments of plain values in a config's text, of which nothing is run.

    Args:
        text: Python, as mmengine writes a config into checkpoints.

    >>> values_in('size = (2, 2)\\nmodel = dict(width=3)\\nimport os\\nx = os.getcwd()')
    {'size': (2, 2), 'model': {'width': 3}}
    """
    found = {}
    try:
        lines = ast.parse(text).body
    except (SyntaxError, ValueError):
        return {}
    for line in lines:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
            try:
                found[line.targets[0].id] = _value(line.value)
            except ValueError:
                continue
    return found


def _value(node: ast.expr) -> Any:
    """A literal, in which ``dict(...)`` may stand."""
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id != 'dict' or node.args:
            raise ValueError('a call')
        return {str(pair.arg): _value(pair.value) for pair in node.keywords}
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    return ast.literal_eval(node)


def _side(size: Any) -> int | None:
    """Of a size, or of a height and a width, the smaller."""
    sides = size if isinstance(size, (list, tuple)) else [size]
    whole = [side for side in sides if isinstance(side, int) and side > 0]
    return min(whole) if whole and len(whole) == len(sides) else None
