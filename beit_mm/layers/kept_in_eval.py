"""Results that evaluation keeps until the parameter they come from changes."""

import torch
from torch import Tensor

from .compiling import is_compiling


class KeptInEval:
    """Results computed from one parameter, by patch grid, kept until the parameter changes.

    Only without gradients: a graph serves one backward pass. A change through ``parameter.data``
    goes unseen, as torch counts none: call ``clear`` or ``train`` after one.

    Args:
        limit: Number of grids; the one that was made first goes first.
    """

    def __init__(self, limit: int = 16) -> None:
        self.limit = limit
        self._results: dict[tuple[int, int], Tensor] = {}
        self._seen: tuple[Tensor, int] | None = None

    def clear(self) -> None:
        """Forget everything."""
        self._results.clear()
        self._seen = None

    def get(self, parameter: Tensor, grid: tuple[int, int], compute) -> Tensor:
        """``compute()`` for a parameter and a grid, or what it gave last time."""
        if torch.is_grad_enabled() or is_compiling() or parameter.is_inference():
            return compute()
        if not self._is_seen(parameter):
            self.clear()
            # An alias: as long as it is held, no other tensor can get its place in memory.
            self._seen = parameter.detach(), parameter._version
        if grid not in self._results:
            while len(self._results) >= self.limit:
                self._results.pop(next(iter(self._results)))
            self._results[grid] = compute()
        return self._results[grid]

    def _is_seen(self, parameter: Tensor) -> bool:
        if self._seen is None:
            return False
        alias, version = self._seen
        return (
            parameter.data_ptr() == alias.data_ptr()
            and parameter._version == version
            and parameter.dtype == alias.dtype
            and parameter.device == alias.device
        )
