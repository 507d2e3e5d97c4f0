"""``beit-mm``: commands for one's own images. Each is a function of Python too."""

import importlib
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version

from .command_arguments import COMMANDS
from .look_arguments import LOOK
from .parsing import Parser

# Of commands of two words, what the first is about.
GROUPS = {LOOK: 'pictures of what a model has learned'}


def build_parser() -> Parser:
    """The parser of all commands."""
    parser = Parser(
        prog='beit-mm',
        description='BEiT, MAE and ViT on your own images.',
        epilog='beit-mm COMMAND --help shows its options and examples',
        usage='beit-mm COMMAND ...',
    )
    parser.add_argument('--version', action='version', version=version('beit-mm'))
    parser.add_argument(
        '--print-completion', choices=('bash', 'zsh', 'tcsh'), help="for the shell's start-up file"
    )
    groups = {'': parser.add_subparsers(metavar='COMMAND', title='commands', prog='beit-mm')}
    for name, command in COMMANDS.items():
        group, _, last = name.rpartition(' ')
        if group not in groups:
            above = groups[''].add_parser(
                group,
                description=GROUPS[group],
                help=GROUPS[group],
                usage=f'beit-mm {group} WHAT ...',
            )
            above.set_defaults(parser=above)
            groups[group] = above.add_subparsers(
                metavar='WHAT', title='what', prog=f'beit-mm {group}'
            )
        examples = '\n'.join(f'  {line}' for line in command.examples.splitlines())
        own = groups[group].add_parser(
            last, description=command.what, help=command.what, epilog=f'examples:\n{examples}'
        )
        command.add_arguments(own)
        own.add_argument('--debug', action='store_true', help='show the traceback of a mistake')
        own.set_defaults(parser=own, command=name)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """The console command."""
    parser = build_parser()
    given = vars(parser.parse_args(arguments))
    name, shell = given.pop('command', None), given.pop('print_completion')
    if shell is not None and name is not None:
        parser.error(f'--print-completion is given, and beit-mm {name}: leave one of them out')
    if shell is not None:
        print(_completion(parser, shell))
        return
    group = given.pop('parser', parser)
    if name is None:
        group.print_help()
        group.exit(2)
    with _ending_what_it_has_started():
        try:
            _run(name, given, given.pop('debug'))
        except KeyboardInterrupt:
            again = '; --resume goes on with it' if 'resume' in given else ''
            print(f'\nbeit-mm {name}: stopped{again}', file=sys.stderr)
            sys.exit(128 + signal.SIGINT)


@contextmanager
def _ending_what_it_has_started() -> Iterator[None]:
    """Let signals that end a process run what stands behind ``finally`` and ``except``."""
    numbers = {signal.SIGTERM, getattr(signal, 'SIGHUP', signal.SIGTERM)}
    # What is ignored stays so, as nohup has it.
    before = {
        number: signal.signal(number, lambda received, _: sys.exit(128 + received))
        for number in numbers
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            # None stands for one that is not Python's, which cannot be put back.
            signal.signal(number, handler or signal.SIG_DFL)


def _run(name: str, given: dict, debug: bool) -> None:
    """Call the function of a command, and end the process with a line if it cannot."""
    # After the arguments are right: this takes seconds.
    from ..engine.starting.telling import told_in_a_line

    # What dependencies say of parts that nobody here needs.
    warnings.filterwarnings('ignore', message='Fail to import')
    file, _, function = COMMANDS[name].function.partition(':')
    with told_in_a_line(f'beit-mm {name}', debug):
        try:
            getattr(importlib.import_module(f'.{file}', __package__), function)(**given)
        except (ImportError, OSError) as error:
            # A package that is missing, a disk that is full, a folder that is not writable.
            if debug or isinstance(error, FileNotFoundError):
                raise
            print(f'beit-mm {name}: {error}', file=sys.stderr)
            sys.exit(1)


def _completion(parser: Parser, shell: str) -> str:
    try:
        import shtab
    except ImportError:
        parser.error('--print-completion takes the package shtab: pip install shtab')
    return shtab.complete(parser, shell)
