"""Compiled forms of methods that many modules share."""

from collections.abc import Callable
from functools import cache

import torch


@cache
def compiled(method: Callable) -> Callable:
    """``torch.compile(method)``, made once.

    A method, called with its module as the first argument, rather than a module: what is compiled
    for the first block of a network serves the others, and no module holds anything that cannot
    be copied or saved. The compiler starts at the first call.
    """
    return torch.compile(method)
