"""Something that looks wrong, and how numbers are written for a reader."""

import math
from typing import NamedTuple


class Finding(NamedTuple):
    """Something that looks wrong in a run.

    Attributes:
        level: 'wrong' or 'warning'.
        title: What, in a sentence.
        evidence: The numbers that say so.
        advice: What to do.
        stage: Of the run.
    """

    level: str
    title: str
    evidence: str
    advice: str
    stage: str = ''


def number(value: float) -> str:
    """A number as short as it may be.

    >>> number(0.0123456), number(12.0), number(12.345), number(1234567), number(2e-6)
    ('0.0123', '12', '12.3', '1,234,567', '2e-06')
    """
    if not math.isfinite(value):
        return 'not finite'
    if abs(value) >= 1000 or value == int(value):
        return f'{value:,.0f}'
    return f'{value:.3g}'
