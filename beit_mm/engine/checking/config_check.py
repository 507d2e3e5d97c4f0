"""Find what cannot work in a config before anything is built or written.

What a component needs, its class says: see :class:`beit_mm.component.Component`. What other
packages' components need is in :mod:`.data_check`; names and kinds of values, whoever's, in
:mod:`.names_check`.
"""

import contextlib
import importlib
import importlib.util
import io
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from mmengine.config import Config
from mmengine.registry import Registry, init_default_scope, root

from ...component import (
    KNOWN_PACKAGES,
    Component,
    ConfigError,
    Note,
    Plan,
    UnknownSetting,
    did_you_mean,
    innermost,
)
from ...registry import HOOKS, METRICS, MODELS, TRANSFORMS
from .bands_check import check_bands
from .class_check import check_classes_of
from .data_check import check_classes, check_data, check_pretrained
from .names_check import RUNNER_TAKES, check_component, check_structure, check_untyped
from .others_check import (
    check_best,
    check_constructor,
    check_drawing,
    check_segments,
    check_topk,
    check_trackers,
    check_widths,
)

# Which distribution brings a package, in the maintained stack and in the original one.
DISTRIBUTIONS = {
    'mmdet': 'onedl-mmdetection (or mmdet==3.3.0)',
    'mmpretrain': 'onedl-mmpretrain (or mmpretrain==1.2.0)',
    'mmseg': 'onedl-mmsegmentation (or mmsegmentation==1.2.2)',
}
# Keys of dicts whose type is no part: how mmengine clips, and what layers LoRA goes into.
OTHER_TYPES = re.compile(r'(^|\.)(clip_grad|targets\[\d+\])$')

# (scope, name) -> what is registered so: mmengine's search takes a millisecond each.
FOUND: dict[tuple[str, str], Any] = {}


def check_config(cfg: Config, mode: str) -> list[str]:
    """Check what can be known of a config before its parts are built.

    Packages that its scopes need; every ``type``, and the names of settings of this project's
    components; data folders and files; and what each component says of itself and of the others.

    Args:
        cfg: A whole config, with command line options merged in.
        mode: 'train' or 'test', which decides whose data must be there.

    Returns:
        What is worth knowing of a config that works.

    Raises:
        ConfigError: With everything that is wrong, a line each.
    """
    notes: list[str] = []
    for check in (_missing_packages, check_structure, _unknown_types, _wrong_settings):
        # Each takes for granted what those before it have found in order.
        said = list(dict.fromkeys(check(cfg, mode)))
        notes += [line for line in said if isinstance(line, Note)]
        if complaints := [line for line in said if not isinstance(line, Note)]:
            raise ConfigError('\n'.join(complaints))
    return notes


def walk(value: Any, key: str = '') -> Iterator[tuple[str, Mapping]]:
    """Every dict with a ``type`` in a config, with its dotted key."""
    if isinstance(value, Mapping):
        if isinstance(value.get('type'), str):
            yield key, value
        for name, child in value.items():
            yield from walk(child, f'{key}.{name}' if key else name)
    elif isinstance(value, (list, tuple)):
        for index, child in enumerate(value):
            yield from walk(child, f'{key}[{index}]')


def _missing_packages(cfg: Config, mode: str) -> Iterator[str]:
    named = {'default_scope': cfg.get('default_scope') or 'mmengine'}
    named |= {f'{key}.type': c['type'].partition('.')[0] for key, c in walk(cfg.to_dict())}
    for key, package in named.items():
        if package in DISTRIBUTIONS and importlib.util.find_spec(package) is None:
            yield (
                f'{key} needs the package {package}, which is not installed: '
                f'pip install {DISTRIBUTIONS[package]}'
            )


@contextlib.contextmanager
def silent_imports() -> Iterator[None]:
    """Import others' packages without what they say of parts that nobody here needs."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.filterwarnings('ignore', message='Fail to import')
        yield


def enter_scope(scope: str) -> None:
    """Make a scope the default one, with all of its components imported in silence."""
    _Types(scope)
    init_default_scope(scope)


class _Types:
    """What the types of a config stand for.

    Args:
        scope: The config's default scope.
    """

    def __init__(self, scope: str) -> None:
        # Importing the module is also what makes a scope's registries children of mmengine's;
        # some are not: MMPretrain's batch augmentations.
        with silent_imports():
            module = importlib.import_module(f'{scope}.registry')
            self._import_everything(module)
        every = {
            id(v): v for m in (root, module) for v in vars(m).values() if isinstance(v, Registry)
        }
        self.registries = [registry.children.get(scope, registry) for registry in every.values()]
        self.scope = scope

    @staticmethod
    def _import_everything(module: Any) -> None:
        """Fill the registries of a scope, which mmengine does at the first question to each."""
        for registry in vars(module).values():
            if isinstance(registry, Registry):
                with contextlib.suppress(ImportError):
                    registry.import_from_location()

    def find(self, name: str) -> Any:
        """The class or function that is registered under a name, or None."""
        key = self.scope, name
        if key not in FOUND:
            found = (self._find_in(registry, name) for registry in self.registries)
            kind = next((kind for kind in found if kind is not None), None)
            if kind is None:
                return None
            FOUND[key] = kind
        return FOUND[key]

    def all_of(self, component: Component) -> list[Component]:
        """A component as whatever its name may stand for, of whatever registry."""
        name = component.given['type']
        if '.' in name:
            return [component]
        every = [r for registry in self.registries for r in (registry, registry.parent) if r]
        kinds = {
            id(r.module_dict[name]): r.module_dict[name] for r in every if name in r.module_dict
        }
        return [self._standing_for(component, kind) for kind in kinds.values()] or [component]

    def _standing_for(self, component: Component, kind: Any) -> Component:
        def find(asked: str) -> Any:
            return kind if asked == component.given['type'] else self.find(asked)

        return replace(component, find=find)

    @staticmethod
    def _find_in(registry: Registry, name: str) -> Any:
        try:
            return registry.get(name)
        # The last of a name that begins with a dot.
        except (KeyError, RuntimeError, ImportError, TypeError):
            return None

    def suggest(self, name: str) -> str:
        """'; did you mean ...?' of the registered name that is most like this one."""
        ours = (MODELS, TRANSFORMS, HOOKS, METRICS)
        for registry in ours:
            registry.import_from_location()
        known = {module for registry in self.registries for module in registry.module_dict}
        known |= {f'beit_mm.{module}' for registry in ours for module in registry.module_dict}
        return did_you_mean(name, known)


def _types(cfg: Config) -> _Types:
    return _Types(cfg.get('default_scope') or 'mmengine')


def _unknown_types(cfg: Config, mode: str) -> Iterator[str]:
    types = _types(cfg)
    for key, component in walk(cfg.to_dict()):
        name = component['type']
        if types.find(name) is None and not OTHER_TYPES.search(key):
            yield f'{key}.type is {name!r}, which is not registered{types.suggest(name)}'


def _wrong_settings(cfg: Config, mode: str) -> Iterator[str]:
    training = ('train_dataloader', 'val_dataloader')
    names = training if mode == 'train' else ('test_dataloader',)
    if mode == 'test' and not cfg.get('test_dataloader'):
        yield 'test_dataloader is missing; testing takes one, and test_evaluator'
    used = [name for name in names if cfg.get(name)]
    types = _types(cfg)
    model = Component('model', cfg.model, types.find)
    for name in used:
        yield from check_data(name, cfg[name].get('dataset') or {}, model)
    yield from check_untyped(cfg)
    loaders = {name: cfg[name] for name in used}
    if mode == 'train':
        yield from check_pretrained(model, walk(cfg.model.to_dict(), 'model'))
        yield from check_classes(cfg.model, cfg.get('data_preprocessor'))
        yield from check_best(cfg, types.find)
    yield from check_classes_of(loaders, model)
    yield from check_widths(model)
    if mode == 'train':
        yield from check_constructor(cfg, model)
    yield from check_segments(cfg, model)
    yield from check_topk(cfg, model)
    yield from check_trackers(cfg)
    yield from check_drawing(cfg, model)
    plan = Plan(
        starts_from_checkpoint=bool(cfg.get('load_from') or cfg.get('resume')),
        pipelines={name: list(_steps(name, cfg[name], types)) for name in used},
    )
    yield from check_bands(cfg, model, plan.pipelines)
    # A config's own variables are not built; another config may have changed them by halves.
    built = {name: value for name, value in cfg.to_dict().items() if name in RUNNER_TAKES}
    for key, given in walk(built):
        component = Component(key, given, types.find)
        # norm_cfg and its like are taken apart before a constructor sees them.
        if component.package in KNOWN_PACKAGES and not ('.' in key and key.endswith('_cfg')):
            # A name may stand for a data set here and a metric there: what is wrong for all.
            said = [list(check_component(one)) for one in types.all_of(component)]
            yield from (line for line in said[0] if all(line in lines for lines in said))
        # Of data loaders and evaluators that this run has no use for, nothing is asked.
        if not key.startswith(('train_', 'val_', 'test_')) or key.startswith(tuple(used)):
            yield from _own_complaints(component, plan)


def _own_complaints(component: Component, plan: Plan) -> list[str]:
    """What a component's class says; a value that it cannot even read is a complaint too."""
    said: list[str] = []
    try:
        said.extend(component.ask('check_config', plan) or ())
    except UnknownSetting:
        # Of somebody's own class, whose constructor decides; the rest is not asked.
        return said
    except (KeyError, TypeError, ValueError) as error:
        message = error.args[0] if isinstance(error, KeyError) else error
        return [f'{component.key}: {message}']
    return said


def _steps(loader: str, settings: Mapping, types: _Types) -> Iterator[Component]:
    """The steps of the pipelines of a data loader, of the innermost data sets."""
    for key, dataset in innermost(f'{loader}.dataset', settings.get('dataset') or {}):
        for index, step in enumerate(dataset.get('pipeline') or []):
            yield Component(f'{key}.pipeline[{index}]', step, types.find)
