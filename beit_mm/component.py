"""A part of a config before it is built, and how a part says what is wrong with its settings."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Not for a component's constructor: taken out by the registries; by the Runner, of hooks; and, of
# optimizer wrappers, by mmengine and by the constructor that keeps groups together.
NOT_SETTINGS = ('type', '_scope_', 'priority', 'constructor', 'paramwise_cfg', 'grouped')


class ConfigError(ValueError):
    """A config that cannot work; the message names the key, what it is and what it must be."""


@dataclass(frozen=True)
class Component:
    """A dict with a ``type`` in a config.

    ``component['img_size']`` is what the config gives or, where it is silent, the default of the
    constructor, so that whoever asks need not know any default.

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

    def _parameters(self) -> dict[str, inspect.Parameter]:
        """Of the constructor and, where that hands on what it does not know, of its bases'."""
        found: dict[str, inspect.Parameter] = {}
        for kind in getattr(self.kind, '__mro__', (self.kind,)):
            if kind in (None, object):
                break
            own = inspect.signature(kind).parameters
            found = {**own, **found}
            if not any(p.kind == p.VAR_KEYWORD for p in own.values()):
                return {n: p for n, p in found.items() if p.kind != p.VAR_KEYWORD}
        return found

    def __getitem__(self, setting: str) -> Any:
        if setting in self.given:
            return self.given[setting]
        parameter = self._parameters().get(setting)
        if parameter is None or parameter.default is inspect.Parameter.empty:
            raise KeyError(f'{self.key} has no {setting}')
        return parameter.default

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
        """What a class method of its class answers, with the component first; None without one."""
        answer = getattr(self.kind, question, None)
        return None if answer is None else answer(self, *details)

    def unknown_settings(self) -> list[str]:
        """Settings that the constructor has no place for."""
        parameters = self._parameters()
        if self.kind is None or any(p.kind == p.VAR_KEYWORD for p in parameters.values()):
            return []
        return [s for s in self.given if s not in parameters and s not in NOT_SETTINGS]

    def settings(self) -> list[str]:
        """Names of what the constructor takes."""
        return list(self._parameters())


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
