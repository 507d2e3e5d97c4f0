"""Images have as many bands, and the same, as networks take and preprocessors normalise."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mmengine.config import Config

from ...component import Component, Note

# Packages whose steps, but for those that make an image grey, leave the number of bands alone.
KEEP_BANDS = ('beit_mm', 'mmcv', 'mmpretrain', 'mmseg', 'torchvision')
OURS = ('LoadPhoto', 'LoadTwoViews')
COLOR_TYPES = {'color': 3, 'grayscale': 1}
COLORS = ['red', 'green', 'blue']
# Of mmcv's arrays, which are blue, green, red.
TURNS = ('to_rgb', 'bgr_to_rgb', 'rgb_to_bgr')
# With one of these LoadPhoto gives bands in their own order.
IN_ORDER = ('bands', 'value_range', 'background', 'no_data')


class Taken(NamedTuple):
    """What a network takes.

    Attributes:
        key: Of the number of bands in the config.
        number: Of the bands.
        names: Of the bands; None if it could know them and does not, empty if it cannot.
    """

    key: str
    number: int
    names: list[str] | None

    @property
    def of_names(self) -> str:
        """Key of the names."""
        return f'{self.key.rpartition(".")[0]}.bands'


class Read(NamedTuple):
    """What a pipeline reads.

    Attributes:
        step: That reads it.
        number: Of the bands.
        names: Of the bands, if the config gives them.
    """

    step: Component
    number: int
    names: list[str] | None

    def __str__(self) -> str:
        named = f' ({", ".join(self.names)})' if self.names else ''
        name = str(self.step.given['type']).rpartition('.')[2]
        return f'{self.step.key} ({name}) reads {self.number} band{"s" * (self.number != 1)}{named}'


def check_bands(
    cfg: Config, model: Component, pipelines: Mapping[str, Sequence[Component]]
) -> Iterator[str]:
    """Complaints, and notes of what would be lost.

    Args:
        cfg: The whole config.
        model: Its model.
        pipelines: The steps of each data loader that is used.
    """
    networks = [*_networks(model)]
    reads = [read for steps in pipelines.values() if (read := _read_by(steps))]
    said = set()
    for taken in networks:
        for read in reads:
            if (taken.key, read.number, str(read.names)) not in said:
                said.add((taken.key, read.number, str(read.names)))
                yield from _compare(taken, read)
    counts = [(f'{read}', read.number) for read in reads[:1]]
    counts = counts or [(f'{t.key} is {t.number}', t.number) for t in networks[:1]]
    for told, count in counts:
        yield from _check_means(cfg, told, count)
    for read in reads[:1]:
        yield from _check_order(cfg, read)


def _networks(model: Component) -> Iterator[Taken]:
    for part in (model, model.part('backbone'), model.part('target_generator')):
        key, count, names = part.ask('bands_of') or ('', None, None)
        if isinstance(count, int):
            yield Taken(key, count, list(names) if isinstance(names, (list, tuple)) else None)


def _read_by(steps: Sequence[Component]) -> Read | None:
    """What a pipeline reads, None where that cannot be known."""
    named = [(str(step.given.get('type')).rpartition('.')[2], step) for step in steps]
    if any(step.package not in KEEP_BANDS or 'gray' in name.lower() for name, step in named):
        return None
    for name, step in named:
        if name in OURS:
            bands = step.get('bands')
            if isinstance(bands, (list, tuple)):
                return Read(step, len(bands), [str(band) for band in bands])
            return Read(step, bands if isinstance(bands, int) else len(COLORS), None)
        if name == 'LoadImageFromFile':
            count = COLOR_TYPES.get(step.get('color_type') or 'color')
            return None if count is None else Read(step, count, None)
    return None


def _compare(taken: Taken, read: Read) -> Iterator[str]:
    if taken.number != read.number:
        other = str(read.step.given['type']).rpartition('.')[2] not in OURS
        reader = f'read the images by beit_mm.LoadPhoto with bands={taken.number}'
        setting = reader if other else f'{read.step.key}.bands={taken.number}'
        yield (
            f'{taken.key} is {taken.number}, and {read}; set {taken.key}={read.number}, or '
            f'{setting}'
        )
    elif read.names is None:
        return
    elif taken.names and taken.names != read.names:
        yield f'{taken.of_names} is {taken.names}, and {read}; set {taken.of_names}={read.names}'
    elif taken.names is None and read.names != COLORS:
        yield Note(
            f'{taken.of_names} is None, and {read}; with {taken.of_names}={read.names} weights are '
            'fitted by these names, and keep them'
        )


def _preprocessor(cfg: Config) -> tuple[str, Mapping[str, Any]]:
    own = cfg.model.get('data_preprocessor')
    if own:
        return 'model.data_preprocessor', own
    return 'data_preprocessor', cfg.get('data_preprocessor') or {}


def _check_means(cfg: Config, told: str, count: int) -> Iterator[str]:
    key, settings = _preprocessor(cfg)
    for name in ('mean', 'std', 'second_mean', 'second_std'):
        numbers = settings.get(name)
        if isinstance(numbers, (list, tuple)) and len(numbers) not in (1, count):
            yield (
                f'{key}.{name} has {len(numbers)} numbers, and {told}; there must be one for each '
                'band'
            )


def _check_order(cfg: Config, read: Read) -> Iterator[str]:
    key, settings = _preprocessor(cfg)
    in_order = any(read.step.get(name) is not None for name in IN_ORDER)
    for name in TURNS:
        if settings.get(name) and in_order and read.number == len(COLORS):
            yield (
                f'{key}.{name} is True, which would turn round the bands that {read.step.key} '
                f'gives in their order; set {key}.{name}=False'
            )
