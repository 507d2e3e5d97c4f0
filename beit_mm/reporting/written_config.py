"""The config that a run wrote of itself: read without running it, and held against its recipe."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

# What a run is made of; other names of a config are variables, whose values stand in these.
PARTS = (
    'model', 'train_dataloader', 'val_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler',
    'val_evaluator', 'default_hooks', 'custom_hooks', 'data_preprocessor', 'randomness',
    'load_from', 'env_cfg',
)  # fmt: skip
# Hooks that every start adds, and wrappers that make a run exact: nobody has set them.
ADDED_HOOKS = ('PublicWeightsHook', 'ResumedChangesHook', 'ImageChangesHook')
WRAPPERS = {'PlacedSampler': 'sampler', 'SeededDataset': 'dataset', 'ReplacingDataset': 'dataset'}
# Below this share of settings in common a recipe is not what a config came from.
ALIKE = 0.5
MISSING = '—'
DEFAULT_CONSTRUCTOR = 'DefaultOptimWrapperConstructor'


class Recipe(NamedTuple):
    """What a config came from, as far as one can tell.

    Attributes:
        name: Path below the folder of recipes.
        settings: Of it, dotted key -> value.
        differences: Key, value of the recipe, value of the run.
    """

    name: str
    settings: Mapping[str, Any]
    differences: list[tuple[str, str, str]]


def flat(settings: Any, key: str = '') -> Iterator[tuple[str, Any]]:
    """Dotted key and value of each setting.

    >>> list(flat({'a': {'b': 1}, 'c': [2, {'d': 3}], 'e': [4, 5]}))
    [('a.b', 1), ('c.0', 2), ('c.1.d', 3), ('e', [4, 5])]
    """
    if isinstance(settings, Mapping) and settings:
        for name, value in settings.items():
            yield from flat(value, f'{key}.{name}' if key else str(name))
    elif isinstance(settings, list) and any(isinstance(one, Mapping) for one in settings):
        for index, value in enumerate(settings):
            yield from flat(value, f'{key}.{index}')
    else:
        yield key, settings


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted key -> value of what a run is made of, as its author would have written it."""
    parts = {name: as_written(config[name]) for name in PARTS if config.get(name) is not None}
    return {
        key: value
        for key, value in flat(parts)
        if value is not None and value is not False and value != {} and value != []
    }


def as_written(value: Any) -> Any:
    """A part of a config without what the start of a run puts around it."""
    if isinstance(value, (list, tuple)):
        kept = [one for one in value if _kind(one) not in ADDED_HOOKS]
        return [as_written(one) for one in kept]
    if not isinstance(value, Mapping):
        return value
    if inner := WRAPPERS.get(_kind(value)):
        return as_written(value.get(inner))
    written = {name: as_written(one) for name, one in value.items() if name != '_scope_'}
    kind = written.get('type')
    if isinstance(kind, str):
        written['type'] = kind.removeprefix('beit_mm.').replace('ExactEpoch', 'Epoch').replace(
            'ExactIter', 'Iter'
        )  # fmt: skip
    if 'by_epoch' in written and ('max_epochs' in written or 'max_iters' in written):
        of = 'Epoch' if written.pop('by_epoch') else 'Iter'
        written['type'] = f'{of}BasedTrainLoop'
    if _kind({'type': written.get('constructor')}) == 'GroupedOptimWrapperConstructor':
        written.pop('constructor')
        of = written.pop('grouped', DEFAULT_CONSTRUCTOR)
        written.update({} if of == DEFAULT_CONSTRUCTOR else {'constructor': of})
    if _kind(value.get('worker_init_fn')) == 'outlive_group_signals':
        del written['worker_init_fn']
    return written


def _kind(part: Any) -> str:
    return str(part.get('type')).rpartition('.')[2] if isinstance(part, Mapping) else ''


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Key and both values, as text, where two runs' settings are not the same."""
    rows = []
    for key in dict.fromkeys([*one, *other]):
        pair = _text(one.get(key, MISSING)), _text(other.get(key, MISSING))
        if pair[0] != pair[1]:
            rows.append((key, *pair))
    return rows


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def recipe_of(
    config: Mapping[str, Any], stem: str, read: Callable[[Path], Mapping[str, Any]], folder: Path
) -> Recipe | None:
    """The recipe that a config has most in common with; that of its own name if there is one.

    Args:
        config: As it ran.
        stem: Name of its file, without its ending.
        read: Gives the settings of a recipe's file, as :func:`settings_of`.
        folder: Of the recipes.

    Returns:
        None if no recipe has a model of its kind and half of its settings.
    """
    own = settings_of(config)
    best, most = None, ALIKE
    for path in sorted(folder.rglob('*.py')):
        if any(part.startswith('_') for part in path.relative_to(folder).parts):
            continue
        theirs = read(path)
        if theirs.get('model.type') != own.get('model.type'):
            continue
        same = sum(_text(own.get(key)) == _text(value) for key, value in theirs.items())
        alike = same / max(1, len(theirs.keys() | own.keys())) + (path.stem == stem) / 10
        if alike > most:
            best, most = (path, theirs), alike
    if best is None:
        return None
    path, theirs = best
    return Recipe(path.relative_to(folder).as_posix(), theirs, differences(theirs, own))
