"""A recipe with one's own values put in: a config that reads as the recipe does."""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..component import ConfigError, Note
from ..engine.checking.own_variables import unread_options
from ..engine.starting.run_length import follow_length
from ..engine.starting.telling import mistakes_of
from ..recipes import folder_of_recipes
from .choices import this_machine


def fill_recipe(name: str, values: Mapping[str, Any], why: str) -> str:
    """The text of a recipe with other values for its variables.

    Args:
        name: Of the recipe below the folder of recipes, such as 'own/pretrain.py'.
        values: Variable -> value, a literal. The recipe assigns each at its top level.
        why: The first line of the text.

    Returns:
        The text of a config that can lie anywhere: its bases are named by ``beit_mm::``.

    Raises:
        KeyError: If the recipe has no such variable.
    """
    path = folder_of_recipes() / name
    lines = path.read_text(encoding='utf-8').splitlines()
    left = {**values, '_base_': _everywhere(path, lines)}
    tree = ast.parse('\n'.join(lines))
    docstring = tree.body[0]
    # From the end, so that the places before stay where they are.
    for node in reversed(tree.body):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            variable = node.targets[0].id
            if variable in left:
                text = f'{variable} = {left.pop(variable)!r}'
                lines[node.lineno - 1 : node.end_lineno] = [text]
    if left:
        raise KeyError(f'{name} has no {", ".join(left)}')
    return '\n'.join([f'"""{why}"""', *lines[docstring.end_lineno :], ''])


def _everywhere(path: Path, lines: list[str]) -> list[str]:
    """The bases of a recipe under names that do not depend on where it lies."""
    root = folder_of_recipes().resolve()
    for node in ast.parse('\n'.join(lines)).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == '_base_':
            bases = ast.literal_eval(node.value)
            paths = [(path.parent / base).resolve().relative_to(root) for base in bases]
            return [f'beit_mm::{base.as_posix()}' for base in paths]
    raise KeyError(f'{path} has no _base_')


def config_of(text: str, options: Mapping[str, Any]) -> Config:
    """The whole config of a text, with the user's options; schedules follow a new length.

    Raises:
        ConfigError: If an option cannot be put in, or would be overwritten.
    """
    cfg = Config.fromstring(text, '.py')
    _check_own(options)
    with mistakes_of('--cfg-options'):
        said = [line for line in unread_options(cfg, dict(options)) if not isinstance(line, Note)]
        if said:
            raise ConfigError('; '.join(said))
        before = cfg.train_cfg
        cfg.merge_from_dict(dict(options))
        follow_length(cfg, before, options)
    return cfg


def _check_own(options: Mapping[str, Any]) -> None:
    """Hold the user's options against what a command says of its run itself.

    Raises:
        ConfigError: If one would be overwritten.
    """
    if 'work_dir' in options:
        raise ConfigError('--cfg-options has work_dir, and --out says it: leave work_dir out')
    if 'launcher' in options:
        raise ConfigError('--cfg-options has launcher; the command starts a process for each GPU')
    wrapper = options.get('optim_wrapper.type', 'AmpOptimWrapper')
    if wrapper != 'AmpOptimWrapper' and this_machine().gpus:
        raise ConfigError(
            f'--cfg-options has optim_wrapper.type={wrapper}, and on a GPU the command trains with '
            '--amp, which is AmpOptimWrapper: leave it out'
        )


def with_options(text: str, options: Mapping[str, Any]) -> str:
    """The text of a config, spelt out where the user has options; see :func:`config_of`."""
    return config_of(text, options).pretty_text if options else text
