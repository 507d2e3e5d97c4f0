"""How the figures of a run went."""

import json
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure


def read_scalars(work_dir: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of each figure in the logs of a work directory, those of resumed runs too."""
    found: dict[str, dict[int, float]] = {}
    for log in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in log.read_text(encoding='utf-8').splitlines(keepends=True):
            if not line.endswith('\n'):
                # A run that was killed has not written all of it.
                continue
            values = json.loads(line)
            step = values.get('step', values.get('iter'))
            for name, value in values.items():
                if isinstance(value, (int, float)) and name not in ('step', 'iter', 'epoch'):
                    found.setdefault(name, {})[step] = value
    return {name: sorted(values.items()) for name, values in found.items()}


def draw_curves(panels: Mapping[str, tuple[Path, str]], path: str | Path) -> None:
    """Write a picture with a panel for each of several runs' figures.

    Args:
        panels: Title -> work directory, and name of the figure. Those without it are left out.
        path: Where the PNG goes.
    """
    known = {
        title: values
        for title, (work_dir, name) in panels.items()
        if (values := read_scalars(work_dir).get(name))
    }
    if not known:
        return
    figure = Figure(figsize=(4 * len(known), 2.8), layout='constrained')
    for axis, (title, values) in zip(
        figure.subplots(1, len(known), squeeze=False)[0], known.items(), strict=True
    ):
        steps, numbers = zip(*values, strict=True)
        axis.plot(steps, numbers, marker='' if len(steps) > 20 else '.')
        axis.set_title(title, fontsize=9)
        axis.set_xlabel('step', fontsize=8)
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
