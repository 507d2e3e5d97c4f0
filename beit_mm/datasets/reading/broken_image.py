"""What is raised for a photo that cannot be decoded."""

from pathlib import Path


class BrokenImage(ValueError):
    """A photo that cannot be decoded.

    Attributes:
        path: Its file.
        reason: What is wrong with it.
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(str(path), reason)
        self.path, self.reason = str(path), reason

    @classmethod
    def by(cls, path: str | Path, error: BaseException) -> 'BrokenImage':
        """One whose reason is what a library has raised, in a line that is never empty."""
        return cls(path, ' '.join(f'{error}'.split()) or type(error).__name__)

    def __str__(self) -> str:
        return f'{self.path} cannot be decoded: {self.reason}'
