"""From what the masks show to the classes 0, 1, ... and their names."""

import colorsys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..component import ConfigError
from ..datasets.annotations import numbers_in
from ..datasets.coco_masks import IGNORED, IGNORED_16, CocoAnnotations
from ..datasets.label_files import (
    MOST_LABELS,
    as_hex,
    as_whole,
    pack,
    read_colors,
    read_labels,
    read_palette,
    same_in_all,
)
from .class_names import OF_COLORS, OF_NAMES, find_beside, read_names, read_table_of_colors
from .mask_pairs import MaskPairs

# What colours that are no class are made to.
NO_CLASS = -1
# Colours that may stand for classes without a table; numbers that may be classes.
MOST_COLORS, MOST_CLASSES = 64, 1000
SHOWN = 12


class Numbering(NamedTuple):
    """Classes, and how the numbers or colours in the masks become them.

    Attributes:
        names: Of the classes, in order.
        palette: (red, green, blue) of each, to paint them.
        values: Variables of ``own/segment.py``.
    """

    names: list[str]
    palette: list[list[int]]
    values: dict[str, Any]


def number_classes(
    pairs: MaskPairs,
    given: Sequence[str] | None = None,
    colors: str | Path | None = None,
    ignore: Sequence[str | int] | None = None,
    divide_by: int | None = None,
) -> Numbering:
    """Look at all masks, and say what they show.

    Args:
        pairs: Images and masks.
        given: Names of the classes; without, those of a file beside the masks, or numbers.
        colors: A table of colours; without, one that lies beside masks with colours.
        ignore: Numbers, or colours as '#rrggbb', that are no class; without, -1, 255 and 65535.
        divide_by: See :class:`beit_mm.datasets.LoadLabels`.

    Raises:
        ConfigError: If the masks show one class alone, or more than there are names for, or have
            no such numbers or colours.
    """
    path = None if colors is None else Path(colors).expanduser()
    if path is not None and not path.is_file():
        raise ConfigError(f'--colors is {colors}, and there is no such file')
    out = None if ignore is None else [_as_ignored(label) for label in ignore]
    if path is None and not _has_colors(pairs):
        return _by_number(pairs, given, out, divide_by)
    if divide_by is not None:
        raise ConfigError(
            f'--divide-by is {divide_by}, for masks of numbers, and those in {pairs.masks} have '
            'colours'
        )
    return _by_color(pairs, given, path, out or [])


def classes_of_coco(coco: CocoAnnotations) -> Numbering:
    """The classes of annotations, whose masks have their numbers."""
    names = coco.names
    if len(names) < 2:
        raise ConfigError(f'there is the class {_few(names)} alone; there must be two at least')
    values = _values(names, ignored=[NO_CLASS, coco.ignored])
    return Numbering(names, colours(len(names)), values)


def _as_ignored(label: str | int) -> str | int:
    text = str(label).strip().lower()
    if text.lstrip('-').isdigit():
        return int(text)
    if len(text) == 7 and text[0] == '#' and all(c in '0123456789abcdef' for c in text[1:]):
        return text
    raise ConfigError(f'--ignore is {label!r}; it must be a number, or a colour such as #000000')


def _has_colors(pairs: MaskPairs) -> bool:
    return any(
        labels.ndim == 3 and not same_in_all(labels)
        for labels in (read_labels(pairs.mask(stem)) for stem in pairs.stems)
    )


def _seen(pairs: MaskPairs, read: Callable[[Path], np.ndarray]) -> dict[int, Path]:
    """Every number of the masks -> the first that has it."""
    seen: dict[int, Path] = {}
    for stem in pairs.stems:
        path = pairs.mask(stem)
        try:
            labels = read(path)
        except ValueError as error:
            raise ConfigError(f'{error}') from error
        pairs.check_size(stem, labels.shape)
        for number in np.unique(labels).tolist():
            seen.setdefault(number, path)
    return dict(sorted(seen.items()))


def _by_color(
    pairs: MaskPairs,
    given: Sequence[str] | None,
    path: Path | None,
    out: list[str | int],
) -> Numbering:
    """Classes of colours."""
    if wrong := [number for number in out if isinstance(number, int)]:
        raise ConfigError(
            f'--ignore is {wrong[0]}, a number, and the masks in {pairs.masks} have colours: it '
            'must be one, such as #000000'
        )
    seen = {as_hex(n): where for n, where in _seen(pairs, lambda p: pack(read_colors(p))).items()}
    path = path or find_beside(pairs.masks, OF_COLORS)
    if path is not None:
        names, table = read_table_of_colors(path)
        print(f'masks of colours; {path} says which class each is')
        if strange := [color for color in seen if color not in table and color not in out]:
            raise ConfigError(
                f'{seen[strange[0]]} has the colour {strange[0]}, which {path} does not know '
                f'({len(strange)} such in the masks); add it, or set --ignore {strange[0]!r}'
            )
        names, table = _without(out, names, table)
    elif len(seen) > MOST_COLORS:
        raise ConfigError(
            f'the masks in {pairs.masks} have {len(seen)} colours, too many to stand for classes: '
            'are they pictures, or have their borders been smoothed? --colors takes a table with '
            'the colour of each class'
        )
    else:
        chosen = [color for color in seen if color not in out]
        names, table = list(chosen), {color: index for index, color in enumerate(chosen)}
        print(
            f'masks of {len(seen)} colours, in this order the classes {_few(chosen)}; --classes '
            'names them, --colors takes a table'
        )
    if given is not None:
        if len(given) != len(names):
            raise ConfigError(
                f'--classes has {len(given)} names, and the masks have {len(names)} classes: '
                f'{_few(names)}'
            )
        names = list(given)
    if len(names) < 2:
        raise ConfigError(f'the masks in {pairs.masks} show {_few(names)} alone; there must be two')
    table |= {str(color): None for color in out}
    if none := [color for color, number in table.items() if number is None]:
        print(f'no class: {_few(none)}')
    painted = {number: color for color, number in reversed(table.items()) if number is not None}
    values = _values(
        names,
        colors={c: NO_CLASS if number is None else number for c, number in table.items()},
        ignored=[NO_CLASS],
    )
    return Numbering(names, [_rgb(painted[number]) for number in range(len(names))], values)


def _without(
    out: Sequence[str | int], names: Sequence[str], table: Mapping[str, int | None]
) -> tuple[list[str], dict[str, int | None]]:
    """Names and table without colours, and without the classes that have no other colour."""
    left = {color: number for color, number in table.items() if color not in out}
    there = sorted({number for number in left.values() if number is not None})
    moved = {
        color: None if number is None else there.index(number) for color, number in left.items()
    }
    return [names[number] for number in there], moved


def _by_number(
    pairs: MaskPairs,
    given: Sequence[str] | None,
    out: list[str | int] | None,
    divide_by: int | None,
) -> Numbering:
    """Classes of numbers."""
    if strange := [color for color in out or () if isinstance(color, str)]:
        raise ConfigError(
            f'--ignore is {strange[0]}, a colour, and the masks in {pairs.masks} have numbers: it '
            'must be one, such as 0'
        )

    def numbers(path: Path) -> np.ndarray:
        labels = as_whole(numbers_in(str(path)), path)
        return np.where(labels >= divide_by, labels // divide_by, labels) if divide_by else labels

    seen = _seen(pairs, numbers)
    if list(seen) == [0, IGNORED] and out is None:
        print('masks of 0 and 255: background, and an object, which becomes class 1')
        names = list(given or ['background', 'object'])
        if len(names) < 2:
            raise ConfigError('--classes has 1 name, and the masks have 2 classes: 0 and 255')
        return Numbering(names, colours(len(names)), _values(names, label_map={IGNORED: 1}))
    ignored = _ignored(list(seen)) if out is None else [int(number) for number in out]
    there = [number for number in seen if number not in ignored]
    if told := [number for number in seen if number in ignored]:
        print(f'no class: {", ".join(map(str, told))} (--ignore)')
    if wrong := [number for number in there if not 0 <= number < MOST_LABELS]:
        raise ConfigError(
            f'{seen[wrong[0]]} has the number {wrong[0]}; classes are 0 to {MOST_LABELS - 1:,}, '
            'and --ignore says which numbers are none'
        )
    if len(there) > MOST_CLASSES:
        raise ConfigError(
            f'the masks in {pairs.masks} show {len(there):,} numbers up to {there[-1]:,}, too many '
            'for classes. If they are instances, --divide-by 1000 takes 26001 for class 26'
        )
    if len(there) < 2:
        raise ConfigError(
            f'the masks in {pairs.masks} show class {there[0] if there else "none"} alone; there '
            'must be two at least'
        )
    names, label_map = _named(pairs, given, there, first=int(0 in ignored))
    values = _values(
        names, label_map=label_map or None, ignored=sorted({NO_CLASS, *ignored}),
        divide_by=divide_by,
    )  # fmt: skip
    # Where a class is stored as 255, what is ignored must be something else.
    if told and IGNORED in there:
        values['ignore_index'] = IGNORED_16
    return Numbering(names, _palette(pairs, there, label_map, len(names)), values)


def _ignored(seen: Sequence[int]) -> list[int]:
    """Numbers that are no class where nobody says so."""
    above = [number for number in seen if number > IGNORED and number != IGNORED_16]
    return [NO_CLASS, IGNORED_16, *([] if above else [IGNORED])]


def _named(
    pairs: MaskPairs, given: Sequence[str] | None, there: list[int], first: int
) -> tuple[list[str], dict[int, int]]:
    """Names, and number in the masks -> class where these differ; ``first`` is the first number."""
    highest = there[-1]
    known, where = dict(enumerate(given or [], first)), '--classes'
    path = None if given is not None else find_beside(pairs.masks, OF_NAMES)
    if path is not None:
        known, where = read_names(path, first), str(path)
        print(f'{where} names the classes')
    if not known and 2 * len(there) > highest - first:
        known = {number: f'class {number}' for number in range(first, highest + 1)}
    elif not known:
        print(f'the masks have the numbers {_few(there)}, which become the classes 0, 1, ...')
        known = {number: f'class {number}' for number in there}
    names = [known[number] for number in sorted(known)]
    if not all(number in known for number in there):
        # As many names as the highest number: 0 may be no class.
        if len(names) != len(there) or len(names) == highest:
            raise ConfigError(
                f'{where} has {len(names)} names, and the masks have the number {highest}: there '
                f'must be {highest + 1 - first}, from {first} on, or {len(there)}, one for each of '
                f'{_few(there)}'
                + ('; if 0 is no class, set --ignore 0 255' if len(names) == highest else '')
            )
        known = dict(zip(there, names, strict=True))
    label_map = {n: index for index, n in enumerate(sorted(known)) if n != index}
    if label_map:
        print('classes: ' + _few([f'{number} {known[number]}' for number in sorted(known)]))
    return names, label_map


def _values(names: Sequence[str], **others: Any) -> dict[str, Any]:
    values = dict(colors=None, ignored=[NO_CLASS], divide_by=None, label_map=None)
    index = IGNORED if len(names) <= IGNORED else IGNORED_16
    return {**values, 'ignore_index': index, **others}


def _palette(
    pairs: MaskPairs, there: Sequence[int], label_map: dict[int, int], count: int
) -> list[list[int]]:
    """The colours of the masks' own palette, if they have one; else some."""
    palettes: dict[int, tuple[str, Path]] = {}
    for stem in pairs.stems:
        path = pairs.mask(stem)
        palette = read_palette(path)
        for number in set(there) & palette.keys():
            color, first = palettes.setdefault(number, (palette[number], path))
            if color != palette[number]:
                print(
                    f'{number} is {color} in {first} and {palette[number]} in {path}: the number '
                    'is taken for the class; where the colour is, --colors takes a table'
                )
                return colours(count)
    own = {label_map.get(number, number): color for number, (color, _) in palettes.items()}
    if len(own) < len(there) or len(set(own.values())) < len(own):
        return colours(count)
    return [_rgb(own[n]) if n in own else rgb for n, rgb in enumerate(colours(count))]


def colours(count: int) -> list[list[int]]:
    """As many colours, black first, the others apart from each other."""
    found = [[0, 0, 0]]
    for index in range(1, count):
        # Steps of the golden ratio never come close to one another for long.
        hue, value = index * 0.618034 % 1, (0.95, 0.7)[index // 8 % 2]
        found.append([round(255 * c) for c in colorsys.hsv_to_rgb(hue, 0.75, value)])
    return found


def _rgb(color: str) -> list[int]:
    return [int(color[begin : begin + 2], 16) for begin in (1, 3, 5)]


def _few(names: Iterable[Any]) -> str:
    every = [str(name) for name in names]
    return ', '.join(every[:SHOWN]) + (' ...' if len(every) > SHOWN else '')
