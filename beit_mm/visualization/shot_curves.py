"""Accuracy against the number of labelled images of a class."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator


def draw_shots(
    top1: Mapping[int, Sequence[float]], half_widths: Mapping[int, float], chance: float
) -> Figure:
    """The mean over seeds with its interval, and each seed as a dot.

    Args:
        top1: Images of a class -> top-1 of each seed, in per cent.
        half_widths: Images of a class -> half of the interval's width, in points; nan where there
            is none.
        chance: Top-1 of the commonest class, in per cent.

    Returns:
        The figure.
    """
    shots = sorted(top1)
    means = [sum(top1[k]) / len(top1[k]) for k in shots]
    widths = [half_widths[k] for k in shots]
    figure = Figure(figsize=(5, 3.4), layout='constrained')
    axis = figure.subplots()
    low, high = ([m + sign * w for m, w in zip(means, widths, strict=True)] for sign in (-1, 1))
    seeds = len(top1[shots[0]])
    if seeds > 1:
        axis.fill_between(shots, low, high, color='tab:blue', alpha=0.2, linewidth=0,
                          label='95 % interval of the mean')  # fmt: skip
        dots = [(k, value) for k in shots for value in top1[k]]
        axis.plot(*zip(*dots, strict=True), '.', color='0.2', alpha=0.7, markersize=4, zorder=3,
                  label='one choice of images')  # fmt: skip
    label = f'mean of {seeds} choices of images' if seeds > 1 else 'one choice of images'
    axis.plot(shots, means, 'o-', color='tab:blue', markersize=5, label=label)
    axis.axhline(chance, color='0.4', linestyle='--', linewidth=1, label='commonest class')
    axis.set_xscale('log')
    axis.set_xticks(shots, [str(k) for k in shots])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel('labelled images of a class')
    axis.set_ylabel('top-1 of the images held out, %')
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, loc='best')
    return figure
