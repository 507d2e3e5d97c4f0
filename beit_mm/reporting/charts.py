"""Curves as inline SVG, which a browser draws without a script and without a network."""

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from .curve import Curve, thinned
from .findings import number

# In the units of the picture, which a phone shows one to one.
WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 24
# Highest over lowest value from which powers of ten are even steps.
LOGARITHMIC = 50.0
# Colours of the page, see its style.
COLORS = 10
# From here on a value is drawn as one that is not finite: differences would be.
MOST = 1e300


class Line(NamedTuple):
    """A curve of a chart.

    Attributes:
        label: For the legend.
        curve: What is drawn.
        color: Which of the page's colours, counted on from the last to the first again.
        kind: 'train', 'val' with a dot at each point, or 'beside' in dashes.
    """

    label: str
    curve: Curve
    color: int
    kind: str = 'train'


class Chart(NamedTuple):
    """Curves that share their axes.

    Attributes:
        title: What they are of.
        lines: At least one.
        even: Whether even steps are even differences; None lets the values decide.
        level: A value that is marked, with its name.
    """

    title: str
    lines: Sequence[Line]
    even: bool | None = None
    level: tuple[float, str] | None = None


class Axis(NamedTuple):
    """From values to places.

    Attributes:
        low: Value at ``start``.
        high: Value at ``end``.
        start: Place of ``low``.
        end: Place of ``high``.
        log: Whether even steps are powers of ten.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The place of a value."""
        low, high, value = (
            (math.log10(v) for v in (self.low, self.high, value))
            if self.log
            else (self.low, self.high, value)
        )
        return self.start + (self.end - self.start) * (value - low) / (high - low)


def steps_of(low: float, high: float, most: int = 5) -> list[float]:
    """Round values that divide a range.

    >>> steps_of(0.0, 9.0)
    [0.0, 2.0, 4.0, 6.0, 8.0]
    """
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [index * step + 0.0 for index in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """A number for an axis.

    >>> short(0.0), short(1500.0), short(2e6), short(0.00025), short(0.25)
    ('0', '1.5k', '2M', '2.5e-4', '0.25')
    """
    for size, unit in ((1e6, 'M'), (1e3, 'k')):
        if abs(value) >= size:
            return f'{value / size:.4g}{unit}'
    if value and abs(value) < 1e-3:
        mantissa, _, power = f'{value:.1e}'.partition('e')
        return f'{float(mantissa):g}e{int(power)}'
    return f'{value:.4g}'


def draw_chart(chart: Chart) -> str:
    """A chart as a <figure>; its values are told where a pointer rests on it."""
    lines = [line._replace(curve=thinned(_drawable(line.curve))) for line in chart.lines]
    across, up = _axes(chart, lines)
    told = '; '.join(f'{line.label}: {number(line.curve.last)} at the end' for line in lines)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(f"{chart.title}. {told}")}" data-x="{across.low} {across.high} '
        f'{across.start} {across.end}" data-y="{up.low} {up.high} {up.start} {up.end}" '
        f'data-log="{int(up.log)}">',
        *_grid(across, up),
    ]
    if chart.level is not None and up.low <= chart.level[0] <= up.high:
        y = up.at(chart.level[0])
        parts += [
            f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<text class="levelname" x="{WIDTH - RIGHT - 3}" y="{y - 4:.1f}">'
            f'{escape(chart.level[1])}</text>',
        ]
    for line in lines:
        parts += _draw_line(line, across, up)
    parts.append('<line class="here" y1="0" y2="0"/></svg>')
    return (
        f'<figure class="chart"><figcaption><h4>{escape(chart.title)}'
        f'{" <small>(powers of ten)</small>" if up.log else ""}</h4>{_legend(lines)}</figcaption>'
        f'{"".join(parts)}<output class="tip" hidden></output></figure>'
    )


def _drawable(curve: Curve) -> Curve:
    return Curve(curve.steps, np.where(np.abs(curve.values) < MOST, curve.values, np.nan))


def _legend(lines: Sequence[Line]) -> str:
    entries = [
        f'<span class="c{line.color % COLORS} {line.kind}"><i></i>{escape(line.label)} '
        f'<b>{number(line.curve.last)}</b></span>'
        for line in lines
    ]
    return f'<p class="legend">{"".join(entries)}</p>'


def _axes(chart: Chart, lines: Sequence[Line]) -> tuple[Axis, Axis]:
    steps = np.concatenate([line.curve.steps for line in lines])
    values = np.concatenate([line.curve.values for line in lines])
    values = values[np.isfinite(values)]
    first, last = float(steps.min()), float(steps.max())
    across = Axis(min(first, 0.0), max(last, first + 1, 1.0), LEFT, WIDTH - RIGHT)
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    log = chart.even is None and low > 0 and high > LOGARITHMIC * low
    if not log:
        room = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
        # What cannot be below 0 is not drawn there.
        low, high = (low - room if low < 0 or low > room else 0.0), high + room
    else:
        low, high = low / 1.2, high * 1.2
    return across, Axis(low, high, HEIGHT - BOTTOM, TOP, log)


def _grid(across: Axis, up: Axis) -> Iterator[str]:
    if up.log:
        powers = range(math.ceil(math.log10(up.low)), math.floor(math.log10(up.high)) + 1)
        apart = math.ceil(len(powers) / 6) or 1
        marks = [10.0**power for power in powers[::apart]]
    else:
        marks = steps_of(up.low, up.high)
    for value in marks:
        y = up.at(value)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="up" x="{LEFT - 5}" y="{y + 3.5:.1f}">{short(value)}</text>'
    for value in steps_of(across.low, across.high):
        x = across.at(value)
        yield f'<text class="across" x="{x:.1f}" y="{HEIGHT - 7}">{short(value)}</text>'


def _draw_line(line: Line, across: Axis, up: Axis) -> Iterator[str]:
    """Stretches of finite values, dots where they stand alone, and crosses where there is none."""
    color = f'class="c{line.color % COLORS}"'
    name = f'class="c{line.color % COLORS} {line.kind}" data-label="{escape(line.label)}"'
    stretch: list[tuple[float, float]] = []
    for step, value in [*zip(*line.curve, strict=True), (math.nan, math.nan)]:
        if math.isfinite(value) and not (up.log and value <= 0):
            stretch.append((across.at(step), up.at(value)))
            continue
        if stretch:
            points = ' '.join(f'{x:.1f},{y:.2f}' for x, y in stretch)
            yield f'<polyline {name} points="{points}"/>'
            if len(stretch) == 1 or (line.kind == 'val' and len(stretch) <= 40):
                for x, y in stretch:
                    yield f'<circle {color} cx="{x:.1f}" cy="{y:.2f}" r="3"/>'
        stretch = []
        if math.isfinite(step):
            yield (
                f'<text class="lost" x="{across.at(step):.1f}" y="{TOP + 8}">×'
                f'<title>{escape(line.label)}: not finite at {step:.0f}</title></text>'
            )
