"""A part of a config before it is built, and how a part says what is wrong with its settings."""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Not for a component's constructor: taken out by the registries; by the Runner, of hooks, loops and
# schedulers; and, of optimizer wrappers, by mmengine and by what keeps groups together.
NOT_SETTINGS = (
    'type', '_scope_', 'priority', 'constructor', 'paramwise_cfg', 'grouped', 'by_epoch',
    'convert_to_iter_based',
)  # fmt: skip
# Packages whose constructors get what the config says: nothing is taken out before.
STRICT = ('beit_mm', 'mmengine', 'mmcv', 'torch', 'torchvision')
# Packages whose constructors take what their signatures say, and mean the defaults that these have.
KNOWN_PACKAGES = (*STRICT, 'mmpretrain', 'mmseg')
# How much alike a name and one that its constructor knows are, where others may be handed on.
ALIKE = 0.85


class ConfigError(ValueError):
    """A config that cannot work; the message names the key, what it is and what it must be."""


def in_a_line(error: Exception) -> str:
    """Kind and message of an error, without what follows its first sentence.

    >>> in_a_line(ValueError('wrong:\\n  the second line\\nmore'))
    'ValueError: wrong: the second line'
    """
    lines = [line.strip() for line in str(error).strip().splitlines()] or ['']
    said = ' '.join(lines[:2]) if lines[0].endswith(':') else lines[0]
    return f'{type(error).__name__}: {said}'


class UnknownSetting(KeyError):
    """A setting that a config leaves to a constructor which does not tell what it is."""


class Note(str):
    """Something to know of a config that works, among what a check says of it."""

    __slots__ = ()


def did_you_mean(name: str, known: Iterable[str], at_least: float = 0.6) -> str:
    """A question with the known name that is most like this one, '' if none is.

    Args:
        name: As it was given.
        known: Names that would have been right.
        at_least: How much alike, in [0, 1].

    >>> did_you_mean('nun_workers', ['batch_size', 'num_workers'])
    "; did you mean 'num_workers'?"
    """
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=at_least)
    return f'; did you mean {close[0]!r}?' if close else ''


def _signature(kind: Any) -> Mapping[str, inspect.Parameter]:
    """Of a class or function; nothing where there is none, as of what is written in C."""
    if kind in (None, object):
        return {}
    try:
        return inspect.signature(kind).parameters
    except (TypeError, ValueError):
        return {}


def _named_in(function: Any) -> set[str]:
    """Texts in the code of a function, among which are the names of arguments that it hands on.

    >>> 'img_size' in _named_in(lambda **settings: dict(img_size=96, **settings))
    True
    """
    constants = getattr(getattr(function, '__code__', None), 'co_consts', ())
    inside = [part for constant in constants if isinstance(constant, tuple) for part in constant]
    return {text for text in (*constants, *inside) if isinstance(text, str)}


@dataclass(frozen=True)
class Component:
    """A dict with a ``type`` in a config.

    ``component['img_size']`` is what the config gives or, where it is silent, the default of the
    constructor, so that whoever asks need not know any default. Where the constructor of a class of
    one's own hands on a value that it has chosen, that is unknown.

    A class may have a class method ``check_config(component, plan)`` that yields what cannot work,
    a message each. :func:`beit_mm.engine.check_config` calls it before anything is built.

    Attributes:
        key: Where it stands, such as 'model.backbone'.
        given: The dict.
        find: The class or function of a type; None if there is none.
    """

    key: str
    given: Mapping
    find: Callable[[str], Any]

    @property
    def kind(self) -> Any:
        """The class, or the function that builds it; None if its type is not known."""
        name = self.given.get('type')
        return self.find(name) if isinstance(name, str) else name

    @property
    def package(self) -> str:
        """Whose it is, such as 'mmcv'; '' where its type is not known."""
        kind = self._wrapped() or self.kind
        return str(getattr(kind, '__module__', '')).partition('.')[0]

    def _wrapped(self) -> Any:
        """The class that a partial wrapper builds: MMPretrain registers torchvision's so."""
        if not isinstance(self.kind, functools.partial):
            return None
        return next((part for part in self.kind.keywords.values() if isinstance(part, type)), None)

    def parameters(self) -> dict[str, inspect.Parameter]:
        """Of the constructor and, where that hands on what it does not know, of its bases'.

        A function that builds something else says so in an attribute ``hands_on_to``: its type, or
        a function that gives its class.
        """
        found: dict[str, inspect.Parameter] = {}
        handed_to = getattr(self.kind, 'hands_on_to', '')
        built = handed_to() if callable(handed_to) else handed_to and self.find(handed_to)
        built = built or self._wrapped()
        bases = getattr(built or self.kind, '__mro__', (self.kind,))
        kinds = (self.kind, *bases) if built else bases
        for kind in kinds:
            own = _signature(kind)
            if not own:
                break
            found = {**own, **found}
            if not any(p.kind == p.VAR_KEYWORD for p in own.values()):
                return {n: p for n, p in found.items() if p.kind != p.VAR_KEYWORD}
        return found

    def __getitem__(self, setting: str) -> Any:
        if setting in self.given:
            return self.given[setting]
        parameter, said = self.parameters().get(setting), f'{self.key} has no {setting}'
        if parameter is None or self._chosen_by_class(setting):
            raise UnknownSetting(said)
        if parameter.default is inspect.Parameter.empty:
            raise KeyError(said)
        return parameter.default

    def _chosen_by_class(self, setting: str) -> bool:
        """Whether one of one's own does, as by ``super().__init__(img_size=96, **settings)``."""
        for kind in getattr(self.kind, '__mro__', ()):
            if kind.__module__.partition('.')[0] in KNOWN_PACKAGES:
                return False
            constructor = vars(kind).get('__init__')
            if constructor is None:
                continue
            if setting in _signature(constructor):
                return False
            if setting in _named_in(constructor):
                return True
        return False

    def get(self, setting: str) -> Any:
        """The setting, or None where neither the config nor the constructor has it."""
        try:
            return self[setting]
        except KeyError:
            return None

    def part(self, setting: str) -> 'Component':
        """The component that a setting describes, one without a type where it is none."""
        value = self.get(setting)
        given = value if isinstance(value, Mapping) else {}
        return Component(f'{self.key}.{setting}', given, self.find)

    def ask(self, question: str, *details: Any) -> Any:
        """What a class method of its class answers, with the component first; None without one.

        Neither does a class answer by settings that are unknown.
        """
        answer = getattr(self.kind, question, None)
        try:
            return None if answer is None else answer(self, *details)
        except UnknownSetting:
            return None

    def unknown_settings(self) -> Iterator[tuple[str, str]]:
        """(setting, question that names the right one) of what the constructor has no place for.

        Where it hands on what it does not know itself, of what is almost a name that it knows.
        """
        parameters = self.parameters()
        # Others hand on to what a signature does not tell.
        asked = parameters if self.package in STRICT else _signature(self.kind)
        hands_on = any(p.kind == p.VAR_KEYWORD for p in asked.values())
        if not parameters:
            return
        known = [*parameters, *NOT_SETTINGS]
        for setting in self.given:
            if setting not in known:
                question = did_you_mean(setting, known, ALIKE if hands_on else 0.6)
                if question or not hands_on:
                    yield setting, question


@dataclass(frozen=True)
class Plan:
    """What a run will do, as far as a component may need to know.

    Attributes:
        starts_from_checkpoint: Whether weights of a whole model will be loaded.
        pipelines: The steps of each data loader that is used, by its name.
    """

    starts_from_checkpoint: bool
    pipelines: Mapping[str, list[Component]]

    def steps(self) -> Iterator[tuple[str, Component]]:
        """(name of the data loader, step) of all of them."""
        for loader, steps in self.pipelines.items():
            for step in steps:
                yield loader, step


def innermost(key: str, dataset: Mapping) -> list[tuple[str, Mapping]]:
    """(key, settings) of the data sets inside of wrappers such as ConcatDataset.

    >>> innermost('a.dataset', dict(type='RepeatDataset', times=2, dataset=dict(type='B')))
    [('a.dataset.dataset', {'type': 'B'})]
    """
    if isinstance(dataset.get('dataset'), Mapping):
        return innermost(f'{key}.dataset', dataset['dataset'])
    inside = dataset.get('datasets')
    if not isinstance(inside, (list, tuple)):
        return [(key, dataset)]
    every = [innermost(f'{key}.datasets[{index}]', one) for index, one in enumerate(inside)]
    return [found for some in every for found in some]
