"""What the config that a checkpoint carries says of its run, and of how its images were read."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..config_text import settings_in_text

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


def run_settings(content: Any) -> dict[str, Any]:
    """The config of the run that wrote a checkpoint, as far as it holds one; none of it is run.

    Args:
        content: What :func:`beit_mm.checkpoints.read_checkpoint` gave.
    """
    meta = content.get('meta') if isinstance(content, Mapping) else None
    text = meta.get('cfg') if isinstance(meta, Mapping) else None
    try:
        return settings_in_text(text) if isinstance(text, str) else {}
    except SyntaxError:
        return {}


def pipeline_in(settings: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The steps that made the images that a run was validated on; none of a config without such.

    Args:
        settings: Its config.
    """
    data: Any = settings.get('val_dataloader') or settings.get('test_dataloader')
    # Of the loader the data set, of one that wraps another that one.
    while isinstance(data, Mapping) and 'pipeline' not in data:
        data = data.get('dataset')
    steps = data['pipeline'] if isinstance(data, Mapping) else None
    every = steps if isinstance(steps, (list, tuple)) else ()
    return [step for step in every if isinstance(step, Mapping)]


def images_in(settings: Mapping[str, Any]) -> TrainedImages:
    """How the images were read that a run was validated on.

    Args:
        settings: Its config. Of one without such images nothing is known.
    """
    size, reading = None, dict[str, Any]()
    for step in pipeline_in(settings):
        sizes = (step[name] for name in SIZES if step.get(name) is not None)
        size = _side(next(sizes, None)) or size
        reading.update({n: step[n] for n in READING if step.get(n) is not None})
    if isinstance(reading.get('bands'), tuple):
        reading['bands'] = list(reading['bands'])
    return TrainedImages(size, reading)


def _side(size: Any) -> int | None:
    """Of a size, or of a height and a width, the smaller."""
    sides = size if isinstance(size, (list, tuple)) else [size]
    whole = [side for side in sides if isinstance(side, int) and side > 0]
    return min(whole) if whole and len(whole) == len(sides) else None
