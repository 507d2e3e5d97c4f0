"""How a set of images is best read: bands, ranges, means and spreads for a config."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from .image_file import COLORS
from .measuring import Looked, measure, visible


class Proposal(NamedTuple):
    """Settings for a set of images.

    Attributes:
        bands: See :class:`beit_mm.datasets.reading.choosing.Reading`.
        value_range: The same.
        names: Of the bands that are read.
        mean, std: Of each, in [0, 255].
        others: Images that have other bands than most.
    """

    bands: int | list[str] | None
    value_range: dict[str, list[tuple[float, float]]] | None
    names: list[str]
    mean: list[float]
    std: list[float]
    others: int

    @property
    def is_plain(self) -> bool:
        """Whether these are photos of 8 bits, in colours or grey, which need no settings."""
        return self.bands is None and self.value_range is None


def propose(looked: Sequence[Looked], method: str = 'measured') -> Proposal:
    """Find settings that lose nothing of most images.

    Photos of 8 bits in colours or grey are read in colours, deep ones of one band in one, others
    in all of their bands.

    Args:
        looked: With all of their bands.
        method: See :func:`beit_mm.datasets.reading.measuring.measure`.

    Raises:
        ValueError: If none of the images has values.
    """
    kinds = Counter(each.bands[: visible(each.bands)] for each in looked if len(each.sample))
    if not kinds:
        raise ValueError('there are no images with values')
    (names, count), *_ = kinds.most_common()
    most = [each for each in looked if each.bands[: len(names)] == names and len(each.sample)
            and visible(each.bands) == len(names)]  # fmt: skip
    found = measure(most, method)
    bands: int | list[str] | None = len(names)
    if any(not name.isdigit() for name in names):
        bands = list(names)
    of_8_bits = set(found.value_range) == {'uint8'} and method == 'measured'
    if names == COLORS or (len(names) == 1 and of_8_bits):
        bands = None
    mean, std = found.mean, found.std
    if bands is None and len(names) == 1:
        names, mean, std = COLORS, mean * len(COLORS), std * len(COLORS)
    elif bands == ['grey']:
        bands = 1
    return Proposal(
        bands,
        None if of_8_bits else found.value_range,
        list(names),
        mean,
        std,
        len(looked) - count,
    )
