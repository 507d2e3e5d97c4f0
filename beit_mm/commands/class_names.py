"""Names of classes that lie beside the data, and the colours that stand for them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..component import ConfigError
from ..datasets.label_files import as_hex

# Files of names, and of names with colours, as tools for labelling write them.
OF_NAMES = ('classes.txt', 'labels.txt', 'class_names.txt')
OF_COLORS = ('labelmap.txt', 'class_dict.csv', 'colors.csv', 'colors.txt')
# What people call pixels of no class.
NO_CLASS = ('void', 'ignore', 'ignored', 'unlabelled', 'unlabeled')
HEX = re.compile(r'#[0-9a-fA-F]{6}\b')
# The last three numbers of a line.
TRIPLE = re.compile(r'(?<!\d)(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})(?=[^\d]*$)')
NUMBERED = re.compile(r'(\d+)[\s:,;]+(.+)')


class Colors(NamedTuple):
    """Colours of classes.

    Attributes:
        names: Of the classes, in order.
        table: Colour as '#rrggbb' -> number of its class; None of pixels that belong to none.
    """

    names: list[str]
    table: dict[str, int | None]


def find_beside(folder: Path, names: Sequence[str]) -> Path | None:
    """The first of some files that is in a folder, or beside it."""
    places = [place / name for place in (folder, folder.parent) for name in names]
    return next((path for path in places if path.is_file()), None)


def read_names(path: Path, first: int = 0) -> dict[int, str]:
    """Number -> name of a class: a name on each line, or a number and a name.

    Args:
        path: The file.
        first: Number of the first line where lines have no numbers.

    Raises:
        ConfigError: If there are none, or one is there twice.
    """
    lines = [line.strip() for line in _text_of(path).splitlines() if line.strip()]
    numbered = [NUMBERED.fullmatch(line) for line in lines]
    if lines and all(numbered):
        found = [(int(match[1]), match[2].strip()) for match in numbered if match]
    else:
        found = list(enumerate(lines, first))
    names = dict(found)
    if not found or len(names) < len(found) or len(set(names.values())) < len(found):
        raise ConfigError(f'{path}: a class must be on each line, and none of them twice')
    return names


def read_table_of_colors(path: Path) -> Colors:
    """Names and colours of classes.

    Lines ``name:red,green,blue:...``, as of CVAT; a .csv with the columns name, r, g and b; or
    lines with a name and a colour such as #ff0000, in any order. One that is called void, ignore
    or unlabelled is no class.

    Raises:
        ConfigError: If a line is none of these, or a colour is there twice.
    """
    names: list[str] = []
    table: dict[str, int | None] = {}
    for number, line in enumerate(_text_of(path).splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith(('# ', '//')):
            continue
        found = _name_and_color(line)
        if found is None:
            if not table and not re.search(r'\d', line):
                continue  # The heads of columns.
            raise ConfigError(
                f'{path}, line {number}: {line.strip()!r} must be a name and a colour, such as '
                'road,128,64,128 or road #804080'
            )
        name, color = found
        if color in table:
            raise ConfigError(f'{path}, line {number}: {color} is there already')
        if name.lower() in NO_CLASS:
            table[color] = None
            continue
        if name not in names:
            names.append(name)
        table[color] = names.index(name)
    if len(names) < 2:
        raise ConfigError(f'{path} has {len(names)} classes; there must be two at least')
    return Colors(names, table)


def _name_and_color(line: str) -> tuple[str, str] | None:
    if match := HEX.search(line):
        color = match[0].lower()
    elif match := TRIPLE.search(line):
        values = [int(value) for value in match.groups()]
        if max(values) > 255:
            return None
        color = as_hex(values[0] << 16 | values[1] << 8 | values[2])
    else:
        return None
    name = (line[: match.start()] + line[match.end() :]).strip(' \t,;:"')
    name = re.sub(r'^\d+[\s,;:]+', '', name)
    return (name, color) if name and not re.search('[,;:]', name) else None


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise ConfigError(f'{path} is not in UTF-8: save it in that encoding') from error
