"""A figure over a run's iterations, and fewer points of it that look the same."""

from array import array
from itertools import pairwise
from typing import NamedTuple

import numpy as np


class Curve(NamedTuple):
    """A figure that a run has logged.

    Attributes:
        steps: (n,) float64, iterations, rising.
        values: (n,) float64; NaN and infinity where the run logged them.
    """

    steps: np.ndarray
    values: np.ndarray

    @property
    def last(self) -> float:
        """The newest value."""
        return float(self.values[-1])

    def later(self, share: float = 0.5) -> 'Curve':
        """The last part of its points, at least one."""
        start = min(int(len(self.steps) * (1 - share)), len(self.steps) - 1)
        return Curve(self.steps[start:], self.values[start:])


class GrowingCurve:
    """A figure that is being read, 16 bytes a point."""

    def __init__(self) -> None:
        self.steps, self.values = array('d'), array('d')

    def add(self, step: float, value: float) -> None:
        """Append a point; of one that is there already the newer counts."""
        if self.steps and self.steps[-1] == step:
            self.values[-1] = value
        else:
            self.steps.append(step)
            self.values.append(value)

    def forget_from(self, step: float) -> None:
        """Drop what a resumed run has gone through once more."""
        while self.steps and self.steps[-1] >= step:
            self.steps.pop()
            self.values.pop()

    def done(self) -> Curve:
        """What was read."""
        return Curve(np.frombuffer(self.steps, float), np.frombuffer(self.values, float))


def thinned(curve: Curve, most: int = 1000) -> Curve:
    """Fewer points of a curve: of each stretch the first, the last, the lowest and the highest.

    What is not finite counts as the highest, so that none of it is lost from sight.

    Args:
        curve: Any.
        most: Points, at least 4.

    Returns:
        A curve of at most so many points, with the ends, the minimum and the maximum of ``curve``.
    """
    count = len(curve.steps)
    if count <= most:
        return curve
    edges = np.linspace(0, count, most // 4 + 1).astype(int)
    kept = set()
    for start, end in pairwise(edges):
        part = curve.values[start:end]
        low = np.where(np.isfinite(part), part, np.inf)
        high = np.where(np.isfinite(part), part, np.inf)
        kept |= {start, end - 1, start + int(low.argmin()), start + int(high.argmax())}
    order = sorted(kept)
    return Curve(curve.steps[order], curve.values[order])
