"""What is raised for a photo that cannot be decoded."""

from pathlib import Path


def name_of(source: str | Path | bytes) -> str:
    """What messages call a file, or what is in one."""
    return 'the image' if isinstance(source, bytes) else str(source)


class BrokenImage(ValueError):
    """A photo that cannot be decoded.

    Args:
        source: Its file, or what is in it.
        reason: What is wrong with it.

    Attributes:
        path: Its file, 'the image' of what was in one.
        reason: What is wrong with it.
    """

    def __init__(self, source: str | Path | bytes, reason: str) -> None:
        self.path, self.reason = name_of(source), reason
        super().__init__(self.path, reason)

    @classmethod
    def by(cls, source: str | Path | bytes, error: BaseException) -> 'BrokenImage':
        """One whose reason is what a library has raised, in a line that is never empty."""
        return cls(source, ' '.join(f'{error}'.split()) or type(error).__name__)

    def __str__(self) -> str:
        return f'{self.path} cannot be decoded: {self.reason}'
