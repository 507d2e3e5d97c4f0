"""How the images of a run are read: bands, depth, means and spreads, chosen by the images."""

import functools
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from mmengine.config import Config

from ..checkpoints.run_settings import images_in
from ..component import ConfigError
from ..datasets.decoding import read_pixels
from ..datasets.reading.choosing import TO_MEASURE, Reading
from ..datasets.reading.known_formats import ENDINGS_OF_PHOTOS
from ..datasets.reading.measuring import (
    MOST_ASKED,
    MOST_LOOKED_AT,
    Looked,
    look_at_some,
    means_and_spreads,
    measure,
    spread,
    visible,
)
from ..datasets.reading.proposing import propose
from ..visualization import as_photo

# What part of the range the middle image must reach, lest most are told to be dark.
DARK = 1 / 8

# ImageNet's, in [0, 255]: what this project's recipes normalise photos by.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class Place(Protocol):
    """Where images lie: a folder's path, or shards. Prints as its user names it."""

    def joinpath(self, name: str, /) -> Path | bytes:
        """The file of an image, or what is in it.

        Raises:
            BrokenImage: If it cannot be read.
        """
        ...


class HowToRead(NamedTuple):
    """Settings of a run's images.

    Attributes:
        bands, value_range, no_data: See :class:`beit_mm.datasets.reading.choosing.Reading`.
        mean, std: Of each band, in [0, 255].
    """

    bands: int | list[str] | None
    value_range: Any
    mean: list[float]
    std: list[float]
    no_data: float | None = None

    @property
    def is_plain(self) -> bool:
        """Whether the images are photos of 8 bits in colours."""
        return self.reading.is_plain

    @property
    def reading(self) -> Reading:
        """What reads them."""
        return Reading(self.bands, self.value_range, no_data=self.no_data)

    @property
    def values(self) -> dict[str, Any]:
        """Variables of the recipes in ``configs/own``."""
        values = dict(self._asdict())
        if self.no_data is not None and not math.isfinite(self.no_data):
            # Void without being named, and the text of a config has no such number.
            values['no_data'] = None
        return values

    @property
    def line(self) -> str:
        """For the user."""
        of_range = self.value_range
        if isinstance(of_range, Mapping):
            of_range = '; '.join(f'{kind} {_ends(pairs)}' for kind, pairs in of_range.items())
        bands = 'red, green and blue' if self.bands is None else self.bands
        if isinstance(bands, list):
            bands = ', '.join(bands)
        return f'{bands}; {"8 bits" if of_range is None else of_range} (--bands, --value-range)'


PHOTOS = HowToRead(None, None, list(MEAN), list(STD))


def how_of(cfg: Config) -> HowToRead:
    """How the images of a run are read, by a config that a recipe in ``configs/own`` has become."""
    found = {name: cfg.get(name) for name in HowToRead._fields}
    return PHOTOS._replace(**{name: value for name, value in found.items() if value is not None})


def how_of_run(settings: Mapping[str, Any]) -> HowToRead:
    """How the images of a run are read, by its preprocessor and the step that reads them.

    Args:
        settings: Of the config that a checkpoint carries.
    """
    normalised = preprocessor_in(settings)
    mean, std = (list(normalised.get(n, getattr(PHOTOS, n))) for n in ('mean', 'std'))
    return PHOTOS._replace(**images_in(settings).reading, mean=mean, std=std)


def preprocessor_in(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """What normalises the images of a run, of the model or, as MMPretrain has it, beside it."""
    model = settings.get('model') or {}
    return model.get('data_preprocessor') or settings.get('data_preprocessor') or {}


def picture_of(source: str | Path | bytes, how: HowToRead) -> np.ndarray:
    """An image to look at, (H, W, 3) uint8."""
    return as_photo(read_pixels(source, how.reading), bands=how.reading.names)


def _ends(pairs: Any) -> str:
    """'0 to 4095' of one range, or of all of several."""
    several = pairs if isinstance(pairs[0], Sequence) else [pairs]
    return f'{min(low for low, _ in several):g} to {max(high for _, high in several):g}'


def how_to_read(
    root: Place,
    names: Sequence[str],
    bands: str | None = None,
    value_range: str | None = None,
    no_data: float | None = None,
) -> HowToRead:
    """Choose bands and range by the images, where the user does not.

    Args:
        root: Where the images lie.
        names: Their names there.
        bands: How many, or names with commas.
        value_range: 'dtype', 'measured', 'percentile', or two numbers with a comma.
        no_data: See :class:`HowToRead`.

    Raises:
        ConfigError: If a choice of the user's cannot be.
    """
    wanted, asked = parse_bands(bands), parse_range(value_range)
    if wanted is None:
        if asked is None and no_data is None and _are_photos(root, names):
            return PHOTOS
        looked = list(_look(root, names, 0, MOST_LOOKED_AT, no_data))
        if not any(len(each.sample) for each in looked):
            # What reads them says why.
            return PHOTOS._replace(no_data=no_data)
        found = propose(looked)
        if asked is None:
            _tell_dark(looked, found.value_range)
            return HowToRead(found.bands, found.value_range, found.mean, found.std, no_data)
        wanted = found.bands
    looked = list(_look(root, names, wanted, MOST_LOOKED_AT, no_data))
    if not looked:
        raise ConfigError(f'--bands is {bands}, and {root} has no image with these bands')
    return _measured(looked, wanted, asked, no_data)


def how_to_read_in(
    bands: int | list[str] | None,
    root: Place,
    names: Sequence[str],
    value_range: str | None = None,
    no_data: float | None = None,
) -> HowToRead:
    """Choose the range by the images, where the user does not, for bands that weights take.

    Args:
        bands, no_data: See :class:`HowToRead`.
        root: Where the images lie.
        names: Their names there.
        value_range: See :func:`how_to_read`.

    Raises:
        ConfigError: If the user's range cannot be.
    """
    asked = parse_range(value_range)
    if bands is None and asked is None and no_data is None and _are_photos(root, names):
        return PHOTOS
    looked = list(_look(root, names, bands, MOST_LOOKED_AT, no_data))
    if not any(len(each.sample) for each in looked):
        return PHOTOS._replace(bands=bands, no_data=no_data)
    return _measured(looked, bands, asked, no_data)


def with_ranges_of(known: HowToRead, root: Place, names: Sequence[str]) -> HowToRead:
    """How weights read images, with ranges of types of pixels that they know nothing of.

    Args:
        known: As the weights say.
        root: Where the images lie.
        names: Their names there.
    """
    if not isinstance(known.value_range, Mapping):
        return known
    looked = list(_look(root, names, known.bands, MOST_ASKED, known.no_data))
    # Photos of 8 bits have the range of their type.
    new = {each.dtype.name for each in looked if len(each.sample)} - {*known.value_range, 'uint8'}
    if not new:
        return known
    looked = list(_look(root, names, known.bands, MOST_LOOKED_AT, known.no_data))
    found = measure(looked).value_range
    return known._replace(
        value_range={**known.value_range, **{kind: found[kind] for kind in new if kind in found}}
    )


def in_order(known: HowToRead, bands: int | list[str] | None) -> HowToRead | None:
    """How weights read images, for some of their bands, or in another order.

    Args:
        known: As the weights say.
        bands: See :class:`HowToRead`.

    Returns:
        With the range, mean and spread of each band; None where one is new.
    """
    theirs = ['red', 'green', 'blue'] if known.bands is None else known.bands
    if bands in (None, known.bands):
        return known
    if isinstance(bands, int) or isinstance(theirs, int) or not {*bands} <= {*theirs}:
        return None

    def pick(values: Sequence) -> list:
        return [values[theirs.index(band)] for band in bands]

    of_range = known.value_range
    if isinstance(of_range, Mapping):
        of_range = {kind: pick(pairs) for kind, pairs in of_range.items()}
    return known._replace(
        bands=bands, value_range=of_range, mean=pick(known.mean), std=pick(known.std)
    )


def _measured(
    looked: Sequence[Looked], bands: int | list[str] | None, asked: Any, no_data: float | None
) -> HowToRead:
    """With ranges in numbers, means and spreads."""
    try:
        if asked in (*TO_MEASURE, None):
            found = measure(looked, asked or TO_MEASURE[0])
            of_8_bits = asked is None and set(found.value_range) == {'uint8'}
            value_range = None if of_8_bits else found.value_range
            _tell_dark(looked, value_range)
            return HowToRead(bands, value_range, found.mean, found.std, no_data)
        return HowToRead(bands, asked, *means_and_spreads(looked, asked), no_data)
    except ValueError as error:
        raise ConfigError(f'the images cannot be read as asked: {error}') from error


def _tell_dark(looked: Sequence[Looked], ranges: Mapping[str, Sequence] | None) -> None:
    """Say where most images would be nearly black, as those of 12 bits beside some of 16 are."""
    for kind, pairs in (ranges or {}).items():
        ends = np.array(pairs)
        reach = [
            ((each.high - ends[:, 0]) / (ends[:, 1] - ends[:, 0])).max()
            for each in looked
            if each.dtype.name == kind and each.high.shape == ends[:, 0].shape and len(each.sample)
        ]
        middle = float(np.median(reach)) if reach else 1.0
        if middle < DARK:
            print(
                f'half of the images in {kind} reach no further than {100 * middle:.2g} % of the '
                f'range {_ends(pairs)}, and will be dark: are there images of several depths? Read '
                'each kind by itself, or give --value-range',
                file=sys.stderr,
            )


def _are_photos(root: Place, names: Sequence[str]) -> bool:
    """Whether images are of 8 bits, in colours or grey, as far as some of them tell."""
    others = [name for name in names if not name.lower().endswith(ENDINGS_OF_PHOTOS)]
    return all(
        each.dtype.name == 'uint8' and visible(each.bands) in (1, 3)
        for each in _look(root, others, 0, MOST_ASKED)
    )


def _look(
    root: Place, names: Sequence[str], bands: Any, most: int, no_data: float | None = None
) -> Iterator[Looked]:
    """What is in some of the images that can be read."""
    sources = [functools.partial(root.joinpath, name) for name in spread(names, most)]
    return look_at_some(sources, bands, no_data)


def parse_bands(text: str | None) -> int | list[str] | None:
    """What ``--bands`` says: a number, or names with commas.

    Raises:
        ConfigError: If it is neither.

    >>> parse_bands('4'), parse_bands('red,green,nir')
    (4, ['red', 'green', 'nir'])
    """
    if text is None:
        return None
    names = [name.strip() for name in str(text).split(',')]
    wanted = int(names[0]) if len(names) == 1 and names[0].isdigit() else names
    return _checked('--bands', text, bands=wanted)


def parse_range(text: str | None) -> Any:
    """What ``--value-range`` says: a word, or two numbers with a comma.

    Raises:
        ConfigError: If it is neither.

    >>> parse_range('0,4095'), parse_range('dtype')
    ([0.0, 4095.0], 'dtype')
    """
    if text is None:
        return None
    try:
        wanted: Any = [float(number) for number in str(text).split(',')]
    except ValueError:
        wanted = text
    return _checked('--value-range', text, value_range=wanted)


def _checked(option: str, text: str, **setting: Any) -> Any:
    try:
        Reading(**setting)
    except ValueError as error:
        raise ConfigError(f'{option} {text}: {error}') from None
    return next(iter(setting.values()))
