"""Draws the rows of claims.py: curves, or a line for each network, with their 95 % intervals."""

import math
from pathlib import Path

from claim_row import Row
from claim_tables import Estimate, figures_of
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Of Okabe and Ito, told apart by all; on dark ground their lighter ones.
COLORS = dict(light=('#0072b2', '#d55e00', '#009e73'), dark=('#56b4e9', '#e69f00', '#2bc79a'))
GROUND = dict(light='white', dark='#0d1117')
INK = dict(light='#24292f', dark='#d0d7de')
GRID = dict(light='#e6e9ed', dark='#262c36')
WIDTH, LINE, CURVE = 6.4, 0.34, 3.4


def draw_row(row: Row, results: Path, folder: Path) -> None:
    """FOLDER/NAME.png and FOLDER/NAME_dark.png."""
    found = [
        (point, value)
        for point in row.points
        if point.drawn and (value := figures_of(point, results))
    ]
    for theme in COLORS:
        height = CURVE if row.x_label else 0.95 + LINE * len(found)
        figure = Figure(figsize=(WIDTH, height), layout='constrained', facecolor=GROUND[theme])
        axis = figure.subplots()
        (_curves if row.x_label else _lines)(axis, row, found, theme)
        _dress(axis, theme)
        ending = '' if theme == 'light' else '_dark'
        # Without the version of Matplotlib in it the file stays the same.
        figure.savefig(folder / f'{row.name}{ending}.png', dpi=120, metadata={'Software': None})


def _curves(axis: Axes, row: Row, found: list, theme: str) -> None:
    """A curve for each ``line`` of the points, over their x."""
    names = list(dict.fromkeys(point.line for point, _ in found))
    for color, name in zip(COLORS[theme], names, strict=False):
        of_line = sorted(
            ((point.x, value) for point, value in found if point.line == name),
            key=lambda pair: pair[0],
        )
        for x, value in of_line:
            axis.plot([x] * len(value.values), list(value.values.values()), 'o', color=color,
                      alpha=0.35, markersize=3, markeredgewidth=0)  # fmt: skip
        axis.errorbar(
            [x for x, _ in of_line], [value.mean for _, value in of_line],
            [_half(value) for _, value in of_line], fmt='o-', color=color, markersize=5,
            linewidth=1.6, elinewidth=1, capsize=3, label=name,
        )  # fmt: skip
    if row.log:
        places = sorted({point.x for point, _ in found})
        axis.set_xscale('log')
        axis.minorticks_off()
        axis.set_xticks(places, [f'{place:g}' for place in places])
    axis.set_xlabel(row.x_label, fontsize=9)
    axis.set_ylabel(_unit(row), fontsize=9)
    if len(names) > 1:
        axis.legend(frameon=False, fontsize=9, labelcolor=INK[theme])
    axis.grid(axis='y', color=GRID[theme])


def _lines(axis: Axes, row: Row, found: list, theme: str) -> None:
    """A line for each point, the first on top: mean, interval, and the seeds."""
    names = list(dict.fromkeys(point.line for point, _ in found))
    for place, (point, value) in enumerate(found):
        color = COLORS[theme][names.index(point.line)]
        axis.plot(list(value.values.values()), [place] * len(value.values), 'o', color=color,
                  alpha=0.4, markersize=4, markeredgewidth=0)  # fmt: skip
        axis.errorbar([value.mean], [place], xerr=[_half(value)], fmt='o', color=color,
                      markersize=7, elinewidth=1.6, capsize=4)  # fmt: skip
    axis.set_yticks(range(len(found)), [point.label for point, _ in found])
    axis.set_ylim(len(found) - 0.4, -0.6)
    axis.set_xlabel(_unit(row), fontsize=9)
    axis.grid(axis='x', color=GRID[theme])


def _half(value: Estimate) -> float:
    return 0.0 if math.isnan(value.half) else value.half


def _unit(row: Row) -> str:
    segmenting = any(point.score == 'mIoU' for point in row.points)
    return f'{"mIoU" if segmenting else "top-1"}, %; bars: 95 % over seeds'


def _dress(axis: Axes, theme: str) -> None:
    axis.set_facecolor(GROUND[theme])
    axis.set_axisbelow(True)
    axis.tick_params(labelsize=9, colors=INK[theme], length=0)
    axis.xaxis.label.set_color(INK[theme])
    axis.yaxis.label.set_color(INK[theme])
    for name, spine in axis.spines.items():
        spine.set_visible(name in ('left', 'bottom'))
        spine.set_color(GRID[theme])
