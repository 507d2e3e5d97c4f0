"""Variables of a config's own that are given anew after what was made from them.

A config is a program: when ``--cfg-options`` or another config set ``num_classes``, whatever the
base has made from it is there already, and stays as it was.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ...component import ALIKE, Note, did_you_mean
from ...recipes import file_of_base
from .names_check import RUNNER_TAKES, is_read

# How many keys are proposed.
MOST = 6


def unread_options(cfg: Config, options: Mapping[str, Any]) -> Iterator[str]:
    """Options that name what nothing reads any more, or never did; a note of what may be one's own.

    Args:
        cfg: As the file has it, before the options.
        options: Dotted key -> value.
    """
    for key, value in options.items():
        head, _, rest = key.partition('.')
        if is_read(head):
            continue
        targets = list(keys_made_from(cfg, head, cfg.to_dict().get(head)))[:MOST]
        asked = _set(targets, rest, value)
        if head not in cfg:
            asked = asked or did_you_mean(head, RUNNER_TAKES, ALIKE)
        if not asked:
            yield Note(f'{key}: neither the Runner nor the tools read this key.')
        elif head in cfg:
            yield f'{key} is a variable of the config, which nothing reads any more{asked}'
        else:
            yield f'{key}: nothing reads this key{asked}'


def _set(targets: list[str], rest: str, value: Any) -> str:
    inner = f'.{rest}' if rest else ''
    every = ' '.join(f'{target}{inner}={value}' for target in targets)
    return f'; set {every}' if every else ''


def keys_made_from(cfg: Config, name: str, wanted: Any) -> Iterator[str]:
    """Keys that the Runner reads and that were probably made from a variable.

    Those of its name; where there is none, those of its value, ``wanted``.

    >>> cfg = Config(dict(model=dict(type='A', img_size=32), train_cfg=dict(size=8)))
    >>> list(keys_made_from(cfg, 'size', 32)), list(keys_made_from(cfg, 'edge', 32))
    (['train_cfg.size'], ['model.img_size'])
    """
    leaves = [
        (key, value)
        for section, part in cfg.to_dict().items()
        if section in RUNNER_TAKES
        for key, value in _leaves(part, section)
    ]
    same_name = [key for key, _ in leaves if key.rpartition('.')[2] == name]
    # Of 0, 1 or None there are many, by chance.
    telling = wanted not in (None, True, False, '')
    yield from same_name or [key for key, value in leaves if telling and _same(value, wanted)]


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Every value below a key, dicts and lists too, with the key that --cfg-options takes."""
    yield key, value
    items: Any = ()
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    for name, child in items:
        yield from _leaves(child, f'{key}.{name}')


def unread_variables(cfg: Config) -> Iterator[str]:
    """Variables that a config file gives anew though only its base reads them.

    Args:
        cfg: Read from a Python file with ``_base_``.
    """
    path = Path(cfg.filename or '')
    if path.suffix != '.py' or not path.is_file():
        return
    tree = ast.parse(path.read_text(encoding='utf-8'))
    before = _values_in_bases(tree, path)
    read = _read_names(tree)
    for name, value in _assigned(tree).items():
        if name not in before or name in read or is_read(name):
            continue
        if ast.dump(before[name]) == ast.dump(value):
            continue
        keys = list(keys_made_from(cfg, name, _literal(before[name])))[:MOST]
        hint = f'; set {", ".join(keys)}' if keys else ''
        yield (
            f'{name} is a variable of the base, which has read it already, and nothing in '
            f'{path.name} reads it{hint}'
        )


def _literal(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _values_in_bases(tree: ast.Module, path: Path) -> dict[str, ast.expr]:
    """What the bases of a file assign, as :func:`_assigned` has it; children come after bases."""
    found: dict[str, ast.expr] = {}
    for base in _bases(tree, path):
        inner = ast.parse(base.read_text(encoding='utf-8'))
        found |= _values_in_bases(inner, base) | _assigned(inner)
    return found


def _bases(tree: ast.Module, path: Path) -> list[Path]:
    """Files that ``_base_`` names, those of packages too."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and _names_of(node) == ['_base_']:
            given = ast.literal_eval(node.value)
            every = [given] if isinstance(given, str) else given
            files = [file_of_base(base, path) for base in every]
            return [file for file in files if file.suffix == '.py' and file.is_file()]
    return []


def _names_of(node: ast.Assign) -> list[str]:
    return [target.id for target in node.targets if isinstance(target, ast.Name)]


def _assigned(tree: ast.Module) -> dict[str, ast.expr]:
    """Name -> expression of what a file assigns."""
    return {
        name: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for name in _names_of(node)
        if name != '_base_'
    }


def _read_names(tree: ast.Module) -> set[str]:
    """Names that a file reads: its own, and its base's, ``_base_.name`` or ``{{_base_.name}}``."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names |= set(node.value.replace('{', ' ').replace('}', ' ').split('.'))
    return names
