"""What of the images of a sample was changed in meaning, from those who read to those who count."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# A pipeline hands on what its last step was told to; what is noted here passes by it.
_NOTED: ContextVar[list[str] | None] = ContextVar('changes', default=None)


def note_changes(changes: Iterable[str]) -> None:
    """Note what reading an image has changed, for who collects it."""
    noted = _NOTED.get()
    if noted is not None:
        noted.extend(changes)


@contextmanager
def noted_changes() -> Iterator[list[str]]:
    """Collect what is noted in this thread until the end of the block."""
    noted: list[str] = []
    token = _NOTED.set(noted)
    try:
        yield noted
    finally:
        _NOTED.reset(token)
