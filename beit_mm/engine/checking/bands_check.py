"""Images have as many bands, and the same, as networks take and preprocessors normalise."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from mmengine.config import Config
from mmengine.model import ImgDataPreprocessor

from ...component import Component, Note

# Packages whose steps, but for those that make an image grey, leave the number of bands alone.
KEEP_BANDS = ('beit_mm', 'mmcv', 'mmpretrain', 'mmseg', 'torchvision')
OURS = ('LoadPhoto', 'LoadTwoViews')
COLOR_TYPES = {'color': 3, 'grayscale': 1}
COLORS = ['red', 'green', 'blue']
# Of mmcv's arrays, which are blue, green, red.
TURNS = ('to_rgb', 'bgr_to_rgb', 'rgb_to_bgr')
# Unless LoadPhoto is told which bands, and then they come in this order.
IN_ORDER = 'bands'

# Steps that take bytes, or would take floating numbers for ones in [0, 1].
TAKE_8_BITS = frozenset((
    'AutoAugment', 'AutoContrast', 'AutoContrastTransform', 'Brightness', 'ColorJitter',
    'ColorTransform', 'Contrast', 'Equalize', 'Invert', 'NumpyToPIL', 'PhotoMetricDistortion',
    'Posterize', 'RandAugment', 'RandomAutocontrast', 'RandomEqualize', 'RandomInvert',
    'RandomPosterize', 'RandomSolarize', 'Sharpness', 'Solarize', 'SolarizeAdd', 'ToPILImage',
    'TrivialAugmentWide',
))  # fmt: skip

# Of preprocessors that take one mean or three, those that take any number.
INSTEAD = dict(
    TwoNormDataPreprocessor='TwoViewDataPreprocessor', SegDataPreProcessor='SegDataPreProcessor'
)


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
    for steps in pipelines.values():
        yield from _check_depth(steps)
    preprocessor = _preprocessor(cfg, model)
    known = [(f'{read}', read.number) for read in reads]
    known += [(f'{taken.key} is {taken.number}', taken.number) for taken in networks]
    for told, number in known[:1]:
        yield from _check_means(preprocessor, told, number)
    for read in reads[:1]:
        yield from _check_order(preprocessor, read)


def taking_8_bits(steps: Iterable[Mapping]) -> str | None:
    """The first step of a pipeline that takes images of 8 bits alone, if any.

    Args:
        steps: As the config has them.
    """
    for step in steps:
        name = str(step.get('type')).replace('/', '.').rpartition('.')[2]
        if name in TAKE_8_BITS or step.get('backend') == 'pillow':
            return name
    return None


def _check_depth(steps: Sequence[Component]) -> Iterator[str]:
    """What reads images deeper than 8 bits is followed by what takes them."""
    for place, step in enumerate(steps):
        reader = str(step.given.get('type')).rpartition('.')[2]
        if reader not in OURS or not step.get('value_range'):
            continue
        after = taking_8_bits(one.given for one in steps[place + 1 :])
        if after is not None:
            yield (
                f'{step.key}.value_range makes floating numbers of pixels, and {after} after it '
                'takes 8 bits; leave it out (beit_mm.JitterBands changes brightness and contrast '
                'of any images), or value_range'
            )


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


def _preprocessor(cfg: Config, model: Component) -> Component:
    own = cfg.model.get('data_preprocessor')
    key = 'model.data_preprocessor' if own else 'data_preprocessor'
    return Component(key, own or cfg.get('data_preprocessor') or {}, model.find)


def _is_mmengines(preprocessor: Component) -> bool:
    """Whether it takes one number for all bands, or three, and turns round three alone."""
    kind = preprocessor.kind
    return isinstance(kind, type) and issubclass(kind, ImgDataPreprocessor)


def _check_means(preprocessor: Component, told: str, number: int) -> Iterator[str]:
    wanted = {1, number} & {1, len(COLORS)} if _is_mmengines(preprocessor) else {1, number}
    for name in ('mean', 'std', 'second_mean', 'second_std'):
        numbers = preprocessor.given.get(name)
        if isinstance(numbers, (list, tuple)) and len(numbers) not in wanted:
            takes = 'one for each band' if number in wanted else 'one number, for all bands alike'
            name_of_kind = str(preprocessor.given.get('type')).rpartition('.')[2]
            if number not in wanted and name_of_kind in INSTEAD:
                takes += f'; beit_mm.{INSTEAD[name_of_kind]} takes one for each'
            yield (
                f'{preprocessor.key}.{name} has {len(numbers)} numbers, and {told}; there must be '
                f'{takes}'
            )


def _check_order(preprocessor: Component, read: Read) -> Iterator[str]:
    in_order = read.step.get(IN_ORDER) is not None
    # Others leave images of other than three bands alone.
    turned = read.number == len(COLORS) or (read.number > 1 and _is_mmengines(preprocessor))
    for name in TURNS:
        if preprocessor.given.get(name) and in_order and turned:
            yield (
                f'{preprocessor.key}.{name} is True, which would turn round the bands that '
                f'{read.step.key} gives in their order; set {preprocessor.key}.{name}=False'
            )
