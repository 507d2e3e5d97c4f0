"""docs/architecture.md is true: its files and names are there, and imports follow its arrows."""

import ast
import importlib.machinery
import re
import sysconfig
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / 'beit_mm'
MAP = (ROOT / 'docs/architecture.md').read_text()
FILES = sorted(PACKAGE.rglob('*.py'))
# The faces of the package and of its rooms hand on names, and have no work of their own.
ROOMS_OF_FACES = {'', 'engine'}


def table(heading: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    section = MAP.partition(f'## {heading}\n')[2].partition('\n## ')[0]
    rows = [line for line in section.splitlines() if line.startswith('|')]
    return [[cell.strip() for cell in row.strip('|').split('|')] for row in rows[2:]]


ARROWS = {
    room.strip('`'): set(re.findall('`([^`]+)`', may_import))
    for room, _, may_import in table('Rooms')
}


def room_of(path: Path) -> str:
    """The innermost room of the map that a file lies in; '' of the package's own face."""
    name = path.relative_to(PACKAGE).as_posix()
    rooms = [room for room in ARROWS if name == room or name.startswith(f'{room}/')]
    if rooms:
        return max(rooms, key=len)
    return path.parent.relative_to(PACKAGE).as_posix().removeprefix('.')


def imports_of(path: Path) -> set[Path]:
    """Files of the package that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parent
            for _ in range(node.level - 1):
                base = base.parent
            base = base.joinpath(*(node.module or '').split('.')) if node.module else base
            found |= {target for alias in node.names for target in files_of(base, alias.name)}
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
        assert not any(name.partition('.')[0] == 'beit_mm' for name in names), (
            f'{path}: imports inside the package are relative'
        )
    return found


def files_of(base: Path, name: str) -> list[Path]:
    """The file that ``from base import name`` reads."""
    for candidate in (base / f'{name}.py', base / name / '__init__.py', base.with_suffix('.py')):
        if candidate.is_file():
            return [candidate]
    return [base / '__init__.py']


GRAPH = {path: imports_of(path) for path in FILES}


def test_every_file_lies_in_a_room_of_the_map():
    outside = {room_of(path) for path in FILES} - set(ARROWS)
    assert outside == ROOMS_OF_FACES
    assert [p.name for p in (PACKAGE / 'engine').iterdir() if p.suffix == '.py'] == ['__init__.py']


def test_imports_follow_the_arrows():
    against = [
        f'{path.relative_to(PACKAGE)} -> {target.relative_to(PACKAGE)}'
        for path, targets in GRAPH.items()
        for target in targets
        if room_of(path) not in ROOMS_OF_FACES
        and room_of(target) not in ARROWS[room_of(path)] | {room_of(path)}
    ]
    assert not against


def test_the_arrows_that_the_map_draws_are_there():
    drawn = {(room, target) for room, targets in ARROWS.items() for target in targets}
    found = {(room_of(path), room_of(target)) for path in FILES for target in GRAPH[path]}
    assert drawn <= found


def test_no_file_imports_itself_in_a_circle():
    # A face imports all of its room, and is imported for a name of it: no circle of files.
    graph = {p: {t for t in ts if t.name != '__init__.py'} for p, ts in GRAPH.items()}
    done = set()

    def visit(path: Path, way: tuple[Path, ...]) -> None:
        assert path not in way, ' -> '.join(p.name for p in (*way, path))
        if path not in done:
            for target in graph[path]:
                visit(target, (*way, path))
            done.add(path)

    for path in FILES:
        visit(path, ())


def test_rooms_have_no_circle_either():
    def visit(room: str, way: tuple[str, ...]) -> None:
        assert room not in way, ' -> '.join((*way, room))
        for target in ARROWS[room]:
            visit(target, (*way, room))

    for room in ARROWS:
        visit(room, ())


def test_no_two_files_have_one_name_and_none_is_long():
    scripts = [*(ROOT / 'tools').glob('*.py'), *(ROOT / 'benchmarks').glob('*.py')]
    names = Counter(path.name for path in [*FILES, *scripts] if path.name != '__init__.py')
    assert [name for name, count in names.items() if count > 1] == []
    assert {p.name: n for p in FILES if (n := len(p.read_text().splitlines())) > 400} == {}


@pytest.mark.parametrize('place', sorted(set(re.findall(r'`([\w/]+\.py:[\w.]+)`', MAP))))
def test_names_of_the_map_are_in_the_code(place):
    file, _, dotted = place.partition(':')
    body = ast.parse((PACKAGE / file).read_text()).body
    for name in dotted.split('.'):
        found = [node for node in body if name in names_of(node)]
        assert found, f'{file} has no {dotted}'
        body = getattr(found[0], 'body', [])


def names_of(node: ast.stmt) -> list[str]:
    """What a statement defines."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def test_rooms_and_files_of_the_map_are_there():
    for room in ARROWS:
        assert (PACKAGE / room).exists(), room
    for name in re.findall(r'`((?:tests|configs|tools)/[\w/.]*)`', MAP):
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize('folder', ['benchmarks', 'tools'])
def test_no_script_hides_a_package(folder):
    """A script's folder is where Python looks first."""
    places = [sysconfig.get_path(name) for name in ('purelib', 'stdlib')]
    names = {path.stem for path in (ROOT / folder).glob('*.py')}
    hidden = {name for name in names if importlib.machinery.PathFinder.find_spec(name, places)}
    # Python's tests of itself, which nothing imports; OpenMMLab's users look for tools/test.py.
    assert hidden - {'test'} == set()
