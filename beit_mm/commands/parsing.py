"""The command line: a parser that says what to type in the place of a mistake.

argparse, as in tools/: its parsers can be shared, it starts in milliseconds, and nothing has to be
installed for it. shtab writes the shells' completions from it.
"""

import argparse
import difflib
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple, NoReturn

WEIGHTS = 'file, folder, hf-hub:NAME, timm:NAME or URL'


class Command(NamedTuple):
    """A command.

    Attributes:
        what: In a line.
        function: Which it calls with its arguments, as 'file of this room:function'.
        add_arguments: Gives them to its parser; their names are the function's.
        examples: For its help.
    """

    what: str
    function: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    examples: str


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors name the nearest right word."""

    def __init__(self, **settings) -> None:
        settings.setdefault('formatter_class', argparse.RawDescriptionHelpFormatter)
        # A shorter form of an option would mean another one once there are two that begin so.
        super().__init__(allow_abbrev=False, **settings)
        # Values that begin with a minus: argparse knows -5, and neither -1000,400 nor -3.4e38.
        self._negative_number_matcher = re.compile(
            r'-(\d+\.?\d*|\.\d+)(e[+-]?\d+)?(,.*)?$', re.IGNORECASE
        )

    def parse_args(self, args=None, namespace=None):
        """As argparse does; of arguments that nobody takes, the nearest that there are."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            where: Parser = getattr(parsed, 'parser', self)
            options = [name for name in unknown if name.startswith('-')]
            said = [f'{name} is not known{where.nearest(name)}' for name in options]
            if not said:
                said = [f'{unknown[0]!r} is one argument too many']
            where.error('; '.join(said))
        return parsed

    def nearest(self, option: str) -> str:
        """A question with the option that is most like this one."""
        known = [n for action in self._actions for n in action.option_strings if len(n) > 2]
        return question(option.partition('=')[0], known)

    def _check_value(self, action, value) -> None:
        choices = action.choices
        if choices is not None and value not in choices:
            name = argparse._get_action_name(action) or 'command'
            listed = ', '.join(map(str, choices))
            raise argparse.ArgumentError(
                None,
                f'{name} is {value!r}; it must be one of {listed}{question(str(value), choices)}',
            )

    def error(self, message: str) -> NoReturn:
        """End with a line, and where the help is; exit status 2."""
        self.exit(2, f'{self.prog}: {message}\n{self.prog} --help shows what there is\n')


def question(given: str, known: Iterable[str]) -> str:
    """Did the user mean this? One that is begun alike counts as well: ``--step`` is --steps."""
    # Dashes make all options alike.
    names = {str(name).lstrip('-'): str(name) for name in known}
    word = given.lstrip('-')
    begun = [name for name in names if name.startswith(word) or word.startswith(name)]
    nearest = difflib.get_close_matches(
        word, begun or names, n=1, cutoff=0.0 if begun and len(word) > 1 else 0.5
    )
    return f'; did you mean {names[nearest[0]]!r}?' if nearest else ''


def add_size(parser: argparse.ArgumentParser) -> None:
    """What commands take that look at images through frozen weights."""
    parser.add_argument('--size', type=positive, metavar='N', help='height and width of an image')


def positive(text: str) -> int:
    """A whole number above zero."""
    return _number(text, int, 'a whole number above 0')


def positive_float(text: str) -> float:
    """A number above zero."""
    return _number(text, float, 'a number above 0')


def natural(text: str) -> int:
    """A whole number from zero on."""
    return _number(text, int, 'a whole number from 0 on', least=0)


def _number(text: str, kind, wanted: str, least: int | None = None):
    try:
        value = kind(text)
    except ValueError:
        value = -1
    if not (value > 0 or value == least):
        raise argparse.ArgumentTypeError(f'it is {text!r}; it must be {wanted}')
    return value
